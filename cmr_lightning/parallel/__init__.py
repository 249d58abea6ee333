"""Several processes that train as one, and the precision of two players."""
