"""What a user keeps outside this repository: a method, a data set, and the experiments that use them."""
