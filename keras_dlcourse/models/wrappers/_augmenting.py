"""Joint augmentation of inputs and labels in the training step, on any backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from keras_dlcourse.layers.augmentation.random_affine import IMAGES


class AugmentingModel(keras.Model):
    """Base of training wrappers that augment inputs and labels with a layer in each step.

    Augmentation runs on the accelerator, differs in each epoch, and is not part of the network.

    Args:
        augmentation: A layer called with a dictionary of the input as `"images"` and all labels,
            or None.
        label: Dictionary key for labels that are not a dictionary; None requires a dictionary.
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
            # Anything else would draw the same random values in each compiled step.
            raise TypeError(f"augmentation must be a Keras layer. Received: {augmentation!r}")
        self.augmentation = augmentation
        self.label_entry = label

    def train_step(self, *given: Any) -> Any:
        """Run a training step on augmented data. Arguments depend on the backend."""
        layer = self.augmentation
        if layer is None:
            return super().train_step(*given)
        *state, data = given
        if not state:
            return super().train_step(_augment(data, layer, self.label_entry))
        # JAX: drawing changes the state of a random generator, which the step must pass on.
        ((trainable, non_trainable, *others),) = state
        with keras.StatelessScope(
            state_mapping=list(zip(self.non_trainable_variables, non_trainable, strict=True))
        ) as scope:
            data = _augment(data, layer, self.label_entry)
        non_trainable = [
            value if (drawn := scope.get_current_value(variable)) is None else drawn
            for variable, value in zip(self.non_trainable_variables, non_trainable, strict=True)
        ]
        return super().train_step((trainable, non_trainable, *others), data)


def _augment(data: Any, layer: keras.layers.Layer, entry: str | None) -> Any:
    """Return inputs, labels and weights of a batch, augmented by a layer."""
    x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
    if entry is not None and not isinstance(y, Mapping):
        x, y, weights = _augment_with_one_label(x, y, weights, layer, entry)
    elif not isinstance(y, Mapping) or IMAGES in y:
        raise ValueError(
            f"labels must be a dictionary without a key {IMAGES!r} if augmentation is used."
        )
    else:
        y = dict(layer({IMAGES: x, **y}, training=True))
        x = y.pop(IMAGES)
    return keras.utils.pack_x_y_sample_weight(x, y, weights)


def _augment_with_one_label(
    x: Any, y: Any, weights: Any, layer: keras.layers.Layer, entry: str
) -> tuple[Any, Any, Any]:
    """Return inputs, non-dictionary labels and weights, augmented by a layer.

    Layers that mix one-hot labels do not support weights, so they mix weighted labels instead,
    whose sum is the weight of the mixture.
    """
    if weights is not None and len(weights.shape) > 2:
        raise ValueError(
            "sample_weight must be one weight per example if images and masks are augmented: "
            f"weights per pixel would stay in place. Received: shape {tuple(weights.shape)}. Use a "
            "loss that derives them from the masks."
        )
    is_vector = len(y.shape) == 2 and y.shape[1] > 1
    y = ops.cast(y, "float32") if is_vector else y
    is_weighted = is_vector and weights is not None
    if is_weighted:
        y = y * ops.reshape(ops.cast(weights, "float32"), (-1, 1))
    moved = layer({IMAGES: x, entry: y}, training=True)
    mixed = moved[entry]
    if len(mixed.shape) != len(y.shape):
        raise ValueError(
            "labels must be one-hot, (batch, classes), to be mixed. "
            f"Received: {tuple(y.shape)}, which {layer.name} turned into {tuple(mixed.shape)}."
        )
    if is_weighted:
        weights = ops.sum(mixed, axis=1)
        mixed = ops.divide_no_nan(mixed, ops.expand_dims(weights, 1))
    return moved[IMAGES], mixed, weights
