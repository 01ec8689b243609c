"""Layers that change the size of feature maps."""
