"""Losses for several tasks at once."""
