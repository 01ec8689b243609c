"""Heads on a backbone: embeddings, boxes, keypoints, pairs."""
