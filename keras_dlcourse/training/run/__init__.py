"""One run: train, evaluate, export and verify into a folder."""
