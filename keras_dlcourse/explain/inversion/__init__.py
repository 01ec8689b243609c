"""What a network perceives: images reconstructed from the output of one of its layers."""
