"""Runs side by side: the commands `report` and `results`, with their leaderboards, statistics, charts and galleries."""
