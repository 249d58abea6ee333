"""`prepare`: from published files to verified files; what it knows of a data set stands on the data set's class."""
