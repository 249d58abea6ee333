"""A trained model on its own: search among its embeddings."""
