"""The building blocks of convolutional networks."""
