"""Features, gradients and scores at one layer of a model, one compiled call per batch."""
