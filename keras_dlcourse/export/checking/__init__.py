"""What is in a file, where it runs, and whether it agrees with Keras."""
