"""Augmentation that blends in another image of the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import is_real
from keras_dlcourse.layers.augmentation.random_affine import IMAGES


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class Superimpose(keras.layers.Layer):
    """Blend each image with another image of its batch at a low weight; labels are unchanged.

    `(1 - weight) * image + weight * other`, with a random weight and partner for each image. The
    image still shows its own object and keeps its label, unlike in MixUp: the network learns to
    ignore reflections and ghosts. Outside training nothing changes, and an exported file contains
    nothing of it.

    Args:
        weight: Maximum weight of the other image, or minimum and maximum; from 0 to below 0.5,
            where the label would become ambiguous.
        seed: Random seed.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Images `(batch, height, width, channels)`, alone or as `"images"` in a dictionary,
            whose other entries are unchanged.
        training: Whether to augment.

    Returns:
        The inputs, with blended images.

    Raises:
        ValueError: If `weight` is out of range, or the images are not a batch of rank 4.

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
        super().__init__(autocast=False, **kwargs)  # other entries, such as boxes, stay exact
        self.weight = _check_weight(weight)
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Return the images, blended in training."""
        if isinstance(inputs, Mapping):
            return {**inputs, IMAGES: self._blend(inputs[IMAGES], training)}
        return self._blend(inputs, training)

    def _blend(self, images: Any, training: bool) -> Any:
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
        """Return the arguments that re-create this layer."""
        return {**super().get_config(), "weight": list(self.weight), "seed": self.seed}


def _check_weight(weight: Any) -> tuple[float, float]:
    pair = (0.0, weight) if is_real(weight) else weight
    if (
        not isinstance(pair, Sequence)
        or len(pair) != 2
        or not all(map(is_real, pair))
        or not 0 <= pair[0] <= pair[1] < 0.5
    ):
        raise ValueError(
            "weight must be a number from 0 to below 0.5, or two, smallest first. Received: "
            f"{weight!r}"
        )
    return float(pair[0]), float(pair[1])
