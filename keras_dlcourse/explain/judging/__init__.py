"""Evaluation of maps, and localization of objects by maps."""
