"""What is known of each data set's files: a module is a data set, its `SOURCE` says everything.

Counts and terms are those of the cards in `datamodules/cards`. A checksum, size or address that is not written down
is unknown.
"""
