"""Building blocks of convolutional networks."""
