"""Keep the features of a pretrained encoder in a store."""
