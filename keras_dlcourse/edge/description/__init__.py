"""Descriptions of a model's inputs and outputs: class names, layouts, normalization."""
