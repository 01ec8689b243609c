"""What a unit of a network responds to: patches, kernels, and images that activate it most."""
