"""Augmentation that Keras lacks."""
