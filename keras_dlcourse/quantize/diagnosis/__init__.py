"""Diagnose which layers of an integer file lose accuracy, why, and how to fix them."""
