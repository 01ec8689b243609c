"""Make networks small: train for integers, calibrate, prune, cluster, and find what went wrong."""
