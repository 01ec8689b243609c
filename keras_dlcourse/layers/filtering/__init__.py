"""Filters without trained weights."""
