"""Callbacks for `model.fit`: early stopping and class activation maps after each epoch."""

from keras_dlcourse._extras import require

require("keras_dlcourse.callbacks", "tensorflow", "keras", "matplotlib")

from keras_dlcourse.callbacks.class_activation_maps import ClassActivationMaps  # noqa: E402
from keras_dlcourse.callbacks.early_stopping import EarlyStopping  # noqa: E402

__all__ = ["ClassActivationMaps", "EarlyStopping"]
