"""Quantization after training: calibration, fixes, and layers left in float."""
