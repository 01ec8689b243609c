"""What augmentation has taught a network, and what it leaves in the data."""
