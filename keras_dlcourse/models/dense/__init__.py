"""Networks without convolutions."""
