"""A run: train, evaluate, export and verify, with all results in one folder."""
