"""The memory-mapped feature store."""
