"""Write metadata, and the names and order of outputs, into a converted file."""
