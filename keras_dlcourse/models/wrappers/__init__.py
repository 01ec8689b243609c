"""Models that train or predict with another model."""
