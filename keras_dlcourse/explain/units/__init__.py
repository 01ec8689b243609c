"""What a unit of a network responds to: patches, kernels, images that excite it most."""
