"""Whether maps are to be trusted, and where they say the object is."""
