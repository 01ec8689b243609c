"""Augmentation of inputs and labels together, within the training step, on any backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from keras_dlcourse.layers.augmentation.random_affine import IMAGES


class AugmentingModel(keras.Model):
    """A model in training, whose steps see inputs and labels that a layer has moved.

    So they are moved by the accelerator, anew in each epoch, and nothing of it is in the network.

    Args:
        augmentation: A layer called with a dictionary of the input as `"images"` and of all
            labels, or None.
        label: What labels that are no dictionary are called in it; None refuses such.
        **kwargs: As for `keras.Model`.
    """

    def __init__(
        self,
        augmentation: keras.layers.Layer | None = None,
        label: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if augmentation is not None and not isinstance(augmentation, keras.layers.Layer):
            # Anything else would draw the same numbers in each compiled step.
            raise TypeError(f"augmentation must be a Keras layer. Received: {augmentation!r}")
        self.augmentation = augmentation
        self.label_entry = label

    def train_step(self, *given: Any) -> Any:
        """Run a step of training on augmented data; the arguments are those of the backend."""
        layer = self.augmentation
        if layer is None:
            return super().train_step(*given)
        *state, data = given
        if not state:
            return super().train_step(_augmented(data, layer, self.label_entry))
        # JAX: the draws change the state of a generator, which the step hands on.
        ((trainable, non_trainable, *others),) = state
        with keras.StatelessScope(
            state_mapping=list(zip(self.non_trainable_variables, non_trainable, strict=True))
        ) as scope:
            data = _augmented(data, layer, self.label_entry)
        non_trainable = [
            value if (drawn := scope.get_current_value(variable)) is None else drawn
            for variable, value in zip(self.non_trainable_variables, non_trainable, strict=True)
        ]
        return super().train_step((trainable, non_trainable, *others), data)


def _augmented(data: Any, layer: keras.layers.Layer, entry: str | None) -> Any:
    """Return inputs, labels and weights of a batch, moved by a layer."""
    x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
    if entry is not None and not isinstance(y, Mapping):
        x, y, weights = _with_one_label(x, y, weights, layer, entry)
    elif not isinstance(y, Mapping) or IMAGES in y:
        raise ValueError(f"augmentation takes labels as a dictionary without an entry {IMAGES!r}.")
    else:
        y = dict(layer({IMAGES: x, **y}, training=True))
        x = y.pop(IMAGES)
    return keras.utils.pack_x_y_sample_weight(x, y, weights)


def _with_one_label(
    x: Any, y: Any, weights: Any, layer: keras.layers.Layer, entry: str
) -> tuple[Any, Any, Any]:
    """Return inputs, the one kind of labels and weights, moved by a layer.

    A layer that mixes one-hot labels knows no weights. It mixes weighted labels instead, whose sum
    is the weight of the mixture.
    """
    is_vector = len(y.shape) == 2 and y.shape[1] > 1
    y = ops.cast(y, "float32") if is_vector else y
    is_weighted = is_vector and weights is not None
    if is_weighted:
        y = y * ops.reshape(ops.cast(weights, "float32"), (-1, 1))
    moved = layer({IMAGES: x, entry: y}, training=True)
    mixed = moved[entry]
    if len(mixed.shape) != len(y.shape):
        raise ValueError(
            f"augmentation by {layer.name} made labels of shape {tuple(mixed.shape)} out of "
            f"{tuple(y.shape)}: to be mixed, they must be one-hot, (batch, classes)."
        )
    if is_weighted:
        weights = ops.sum(mixed, axis=1)
        mixed = ops.divide_no_nan(mixed, ops.expand_dims(weights, 1))
    return moved[IMAGES], mixed, weights
