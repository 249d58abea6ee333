"""What a user keeps outside this repository: an adversary, a data set, and the experiments that use them."""
