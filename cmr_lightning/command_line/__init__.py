"""What commands do before Lightning: refuse early, check its options, compare settings and data with the training."""
