"""Losses for embeddings."""
