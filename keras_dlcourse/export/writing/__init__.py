"""Metadata, names and order of outputs, written into a converted file."""
