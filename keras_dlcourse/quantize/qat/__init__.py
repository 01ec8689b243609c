"""Quantization-aware training: what each layer rounds, and the ranges it learns."""
