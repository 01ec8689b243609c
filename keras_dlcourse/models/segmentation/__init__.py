"""Models that predict the class of each pixel."""
