"""Fewer weights, fewer filters, fewer different numbers, and recipes of them."""
