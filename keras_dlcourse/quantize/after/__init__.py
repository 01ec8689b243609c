"""Integers after training: calibrated files, and repair of networks that lose by it."""
