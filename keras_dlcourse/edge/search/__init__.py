"""Galleries of embeddings: storage, search and identification."""
