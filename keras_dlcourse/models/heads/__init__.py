"""Heads for a backbone: embeddings, boxes, keypoints, pairs."""
