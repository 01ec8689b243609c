"""Augmentation layers that Keras lacks."""
