"""Layers that record the meaning of a model's inputs and outputs."""
