"""Quantized, pruned and clustered weights and activations."""
