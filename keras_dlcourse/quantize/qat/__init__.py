"""Quantization-aware training: which layers round what, and the ranges that they learn."""
