"""Methods that compute maps: which locations of an image are evidence for a class."""
