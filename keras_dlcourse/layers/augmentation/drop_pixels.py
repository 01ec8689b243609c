"""Random masks: pixels that are left out of the loss, different ones in each step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import check_number
from keras_dlcourse.layers.augmentation.random_affine import (
    IMAGES,
    check_entries,
    check_mask_classes,
    spec_of,
)


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class DropPixels(keras.layers.Layer):
    """Take the labels of random pixels away, so that the loss leaves these pixels out.

    Neighboring pixels say much the same, so the gradient of a whole image is less random than that
    of as many patches from different images. Each pixel keeps its label with the same probability,
    independently of all others, and other pixels are chosen in each step. The expected gradient
    remains that of all labeled pixels. Images do not change, and outside training nothing does, so
    validation measures all pixels.

    Use it with a loss that ignores pixels without a label, such as `kd.losses.PixelCrossentropy`,
    in `kd.models.AugmentedModel`; in a `keras.Sequential` after layers that move masks.

    Args:
        keep: Probability that a pixel keeps its label, above 0 and at most 1.
        masks: The dictionary entries that are masks, each with the value of pixels without a label,
            such as 255.
        seed: Random seed.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: A dictionary of images and masks of class numbers, `(batch, height, width)` or with
            a channel axis. Entries that `masks` does not name are unchanged, and images alone, too.
        training: Whether to drop labels.

    Returns:
        The inputs, with masks of the same dtype.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If an argument is out of range, or an entry is missing.

    Example:
        >>> import numpy as np
        >>> drop = DropPixels(0.2, masks={"mask": 255}, seed=0)
        >>> data = {"images": np.zeros((1, 64, 64, 3)), "mask": np.ones((1, 64, 64), "int32")}
        >>> mask = ops.convert_to_numpy(drop(data, training=True)["mask"])
        >>> np.unique(mask).tolist(), round(float((mask == 1).mean()), 1)
        ([1, 255], 0.2)

    Reference:
        Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR
        2015, sections 3.4 and 4.3, https://arxiv.org/abs/1411.4038
    """

    def __init__(
        self,
        keep: float = 0.5,
        *,
        masks: Mapping[str, int],
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.keep = check_number("keep", keep, above=0, most=1)
        self.masks = check_mask_classes(masks)
        if not self.masks:
            raise ValueError(
                f"masks must name at least one entry, such as {{'mask': 255}}. Received: {masks!r}"
            )
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Return the inputs, in training with labels for some of the pixels."""
        alone = not isinstance(inputs, Mapping)
        given = {IMAGES: inputs} if alone else dict(inputs)
        masks = {} if alone else self.masks
        check_entries(given, list(masks))
        given[IMAGES] = ops.cast(ops.convert_to_tensor(given[IMAGES]), self.compute_dtype)
        if training:
            given |= {name: self._drop(given[name], gone) for name, gone in masks.items()}
        return given[IMAGES] if alone else given

    def _drop(self, mask: Any, gone: int) -> Any:
        mask = ops.convert_to_tensor(mask)
        chance = keras.random.uniform(ops.shape(mask), dtype="float32", seed=self.generator)
        return ops.where(chance < self.keep, mask, ops.cast(gone, mask.dtype))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return `input_shape`."""
        return input_shape

    def compute_output_spec(self, inputs: Any, training: bool = False) -> Any:
        """Return the shapes and dtypes of the outputs."""
        return spec_of(inputs, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this layer."""
        return {
            **super().get_config(),
            "keep": self.keep,
            "masks": self.masks,
            "seed": self.seed,
        }
