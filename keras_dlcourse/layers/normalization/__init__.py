"""Normalization of features, over the batch, channels or neighbors."""
