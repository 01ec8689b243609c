"""Transfer learning: a new head on a trained network, then its last blocks."""

from keras_dlcourse.training.transfer.recipe import Transfer, transfer

__all__ = ["Transfer", "transfer"]
