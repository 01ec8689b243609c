"""Measure what a network has learned from augmentation, and the traces it leaves in the data."""
