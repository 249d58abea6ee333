"""W&B's sweep files (`read_sweep`), run on this machine with Optuna and no account (`run_sweep`)."""
