"""Reading: tables, published lists, committed splits, and batches of what they name."""
