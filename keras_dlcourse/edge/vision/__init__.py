"""Images in: reading, resizing, and a class for each task."""
