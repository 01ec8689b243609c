"""From scores to decisions: calibrated scores, thresholds."""
