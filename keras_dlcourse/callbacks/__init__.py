"""Callbacks for `model.fit`: early stopping and class activation maps after each epoch."""

from keras_dlcourse._extras import require

require("keras_dlcourse.callbacks", "tensorflow", "keras")

from keras_dlcourse.callbacks.early_stopping import EarlyStopping  # noqa: E402

__all__ = ["EarlyStopping"]
