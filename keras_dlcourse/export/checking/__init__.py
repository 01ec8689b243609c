"""Inspect a file, check where it runs, and verify that it agrees with Keras."""
