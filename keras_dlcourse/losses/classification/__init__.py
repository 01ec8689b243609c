"""Losses for classes and labels."""
