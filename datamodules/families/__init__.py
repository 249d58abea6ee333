"""Families of data sets: lists of pictures with captions, and composed queries."""
