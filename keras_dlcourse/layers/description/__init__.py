"""Layers that record what a model's inputs and outputs mean."""
