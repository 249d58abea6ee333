"""What data sets of one form have in common: lists of pictures with captions, and composed queries."""
