"""Transfer learning: train a new head on a trained network, then fine-tune its last blocks."""

from keras_dlcourse.training.transfer.recipe import transfer
from keras_dlcourse.training.transfer.result import Transfer

__all__ = ["Transfer", "transfer"]
