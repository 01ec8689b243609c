"""A model opened at one layer: features, scores and gradients, in one compiled call a batch."""
