"""`prepare`: from published files to verified files; knows data sets by what is written down in `sources`."""
