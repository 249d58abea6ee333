"""A run: its folder, its checkpoints, its metrics, and the processes that make it."""
