"""What the contract checks run on: one case per public part.

A new layer, loss, metric, callback or model is checked by adding its case here, and only then
passes `test_walk.py`.
"""
