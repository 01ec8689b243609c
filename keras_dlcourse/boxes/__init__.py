"""Boxes: formats, overlap, and extraction from masks."""

# Must come first: importing Keras imports our losses (`_registration`), which need this package.
import keras  # noqa: F401
