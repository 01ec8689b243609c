"""Package a file for devices: bundles, and sources for microcontrollers."""
