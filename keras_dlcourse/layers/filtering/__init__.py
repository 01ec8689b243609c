"""Filters that are not learned."""
