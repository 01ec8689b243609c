"""Augmentation that lets another image of the batch shine through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import is_real
from keras_dlcourse.layers.augmentation.random_affine import IMAGES


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class Superimpose(keras.layers.Layer):
    """Blend each image with another one of its batch, at a low weight; labels stay.

    `(1 - weight) * image + weight * other`, with a weight and a partner drawn for each image. The
    image stays what it was, and so does its label, unlike in MixUp: the network learns to look past
    reflections and ghosts. Outside of training nothing changes, and nothing of it is in an exported
    file.

    Args:
        weight: The largest weight of the other image, or the least and the largest; from 0 to
            below 0.5, where the label would be in doubt.
        seed: Seed of the draws.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Images `(batch, height, width, channels)`, alone or in a dictionary as `"images"`;
            all else in it stays as it is.
        training: Whether to augment.

    Returns:
        What came in, with blended images.

    Raises:
        ValueError: If `weight` is out of range, or images are no batch.

    Example:
        >>> import numpy as np
        >>> images = np.repeat(np.arange(4.0), 4).reshape(4, 2, 2, 1)
        >>> blended = Superimpose(0.2, seed=1)(images, training=True)
        >>> bool(ops.max(ops.abs(blended - images)) <= 0.2 * 3)
        True

    Reference:
        Inoue, "Data Augmentation by Pairing Samples for Images Classification", 2018,
        https://arxiv.org/abs/1801.02929 (with equal weights)
    """

    def __init__(
        self, weight: float | Sequence[float] = 0.2, *, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(autocast=False, **kwargs)  # boxes beside the images stay as exact
        self.weight = _checked_weight(weight)
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Return the images, blended if this is training."""
        if isinstance(inputs, Mapping):
            return {**inputs, IMAGES: self._blended(inputs[IMAGES], training)}
        return self._blended(inputs, training)

    def _blended(self, images: Any, training: bool) -> Any:
        images = ops.cast(ops.convert_to_tensor(images), self.compute_dtype)
        if len(images.shape) != 4:
            raise ValueError(
                f"images must be a batch of rank 4. Received: shape {tuple(images.shape)}"
            )
        if not training:
            return images
        count = ops.shape(images)[0]
        order = keras.random.shuffle(ops.arange(count), seed=self.generator)
        weight = keras.random.uniform(
            (count, 1, 1, 1), *self.weight, dtype=images.dtype, seed=self.generator
        )
        return images + weight * (ops.take(images, order, axis=0) - images)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return `input_shape`."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this layer again."""
        return {**super().get_config(), "weight": list(self.weight), "seed": self.seed}


def _checked_weight(weight: Any) -> tuple[float, float]:
    pair = (0.0, weight) if is_real(weight) else weight
    if (
        not isinstance(pair, Sequence)
        or len(pair) != 2
        or not all(map(is_real, pair))
        or not 0 <= pair[0] <= pair[1] < 0.5
    ):
        raise ValueError(
            "weight must be a number from 0 to below 0.5, or two, the least first. Received: "
            f"{weight!r}"
        )
    return float(pair[0]), float(pair[1])
