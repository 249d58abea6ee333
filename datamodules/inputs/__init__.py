"""From pictures and texts to tensors: decoding, tokens, vocabulary, word weights, stored features."""
