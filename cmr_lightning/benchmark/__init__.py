"""Benchmarks: the file (`read_benchmark`), its plan, and the command (`run_benchmark`)."""
