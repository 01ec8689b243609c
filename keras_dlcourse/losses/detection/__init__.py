"""Losses for boxes and keypoints."""
