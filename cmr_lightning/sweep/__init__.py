"""W&B's sweep files, run on this machine with Optuna and no account."""
