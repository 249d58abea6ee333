"""Runs: the folder (`Run`), plans (`PlannedRun`), the pool (`execute`, `side_by_side`), checkpoints and metrics."""
