"""Which layer of an integer file loses accuracy, why, and what to do."""
