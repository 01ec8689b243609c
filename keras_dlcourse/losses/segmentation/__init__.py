"""Losses of class masks."""
