"""Augmentation of inputs and labels together, within the training step, on any backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from keras_dlcourse.layers.random_affine import IMAGES


class AugmentingModel(keras.Model):
    """A model in training, whose steps see inputs and labels that a layer has moved.

    So they are moved by the accelerator, anew in each epoch, and nothing of it is in the network.

    Args:
        augmentation: A layer called with a dictionary of the input as `"images"` and of all
            labels, or None.
        **kwargs: As for `keras.Model`.
    """

    def __init__(self, augmentation: keras.layers.Layer | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if augmentation is not None and not isinstance(augmentation, keras.layers.Layer):
            # Anything else would draw the same numbers in each compiled step.
            raise TypeError(f"augmentation must be a Keras layer. Received: {augmentation!r}")
        self.augmentation = augmentation

    def train_step(self, *given: Any) -> Any:
        """Run a step of training on augmented data; the arguments are those of the backend."""
        layer = self.augmentation
        if layer is None:
            return super().train_step(*given)
        *state, data = given
        if not state:
            return super().train_step(_augmented(data, layer))
        # JAX: the draws change the state of a generator, which the step hands on.
        ((trainable, non_trainable, *others),) = state
        with keras.StatelessScope(
            state_mapping=list(zip(self.non_trainable_variables, non_trainable, strict=True))
        ) as scope:
            data = _augmented(data, layer)
        non_trainable = [
            value if (drawn := scope.get_current_value(variable)) is None else drawn
            for variable, value in zip(self.non_trainable_variables, non_trainable, strict=True)
        ]
        return super().train_step((trainable, non_trainable, *others), data)


def _augmented(data: Any, layer: keras.layers.Layer) -> Any:
    """Return inputs, labels and weights of a batch, moved by a layer."""
    x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
    if not isinstance(y, Mapping) or IMAGES in y:
        raise ValueError(f"augmentation takes labels as a dictionary without an entry {IMAGES!r}.")
    moved = dict(layer({IMAGES: x, **y}, training=True))
    return keras.utils.pack_x_y_sample_weight(moved.pop(IMAGES), moved, weights)
