"""Boxes: their formats, their overlap, and how they are read from masks."""

# First of all: Keras brings the losses in (`_registration`), and these take from here.
import keras  # noqa: F401
