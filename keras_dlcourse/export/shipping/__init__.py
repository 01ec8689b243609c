"""What leaves the machine beside the file: bundles, sources for microcontrollers."""
