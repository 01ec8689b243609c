"""From scores to decisions: calibrated scores and thresholds."""
