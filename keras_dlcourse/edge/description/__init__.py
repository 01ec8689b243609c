"""What a file says about its inputs and outputs."""
