"""Galleries of embeddings: storing, searching, identifying."""
