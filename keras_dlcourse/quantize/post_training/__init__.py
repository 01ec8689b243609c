"""Quantization after training: calibration, repairs, layers left in float."""
