"""Image input: reading, resizing, and a model class for each task."""
