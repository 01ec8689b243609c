"""Augmentation that bends images together with their masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse._checks import check_integer, check_number, check_one_of
from keras_dlcourse.layers.augmentation.random_affine import (
    IMAGES,
    check_entries,
    check_mask_classes,
    check_mask_size,
    spec_of,
)

_FILL_MODES = ("constant", "nearest", "reflect")


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class ElasticDeformation(keras.layers.Layer):
    """Randomly and smoothly bend images together with their masks.

    Random displacement vectors on a coarse grid are interpolated to one vector per pixel by cubic
    convolution; each pixel shows what is at its place plus the vector. Each image of a batch gets
    its own field, and the masks of an image get the same. Outside training nothing changes, and an
    exported file contains nothing of it.

    `keras.layers.RandomElasticTransform` of Keras 3.15 bends images and masks by different fields,
    and shows the first image of a batch in all of them if the batch size is unknown, as in
    `tf.data`.

    Args:
        stddev: Standard deviation of the vectors in pixels, in each direction. The paper uses 10
            for images of 512 x 512.
        points: Number of grid points along each side, which begin and end at its outermost pixels.
        masks: The dictionary entries that are segmentation masks, each with the class that fills
            areas outside the image under `fill_mode="constant"`, such as 255 for no label. Masks
            always use nearest-pixel interpolation: class numbers cannot be interpolated.
        interpolation: `"bilinear"` or `"nearest"`, for images.
        fill_mode: How to fill areas outside the image: `"constant"`, `"nearest"`, or `"reflect"`,
            which continues it by its mirror image.
        fill_value: The value for `"constant"`.
        seed: Random seed.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Images `(batch, height, width, channels)`, alone or as `"images"` in a dictionary
            with other entries: masks of class numbers as large as the image, `(batch, height,
            width)` or with a channel axis. Entries that no argument names are unchanged.
        training: Whether to augment.

    Returns:
        The inputs, bent. Masks keep their dtype.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If an argument is out of range, an entry is missing, or a shape is not
            supported.

    Example:
        >>> import numpy as np
        >>> mask = np.zeros((1, 64, 64), "uint8")
        >>> mask[:, 20:44, 20:44] = 1
        >>> bend = ElasticDeformation(3.0, masks={"mask": 255}, seed=1)
        >>> bent = bend({"images": mask[..., None], "mask": mask}, training=True)
        >>> image = ops.convert_to_numpy(bent["images"])[..., 0]
        >>> inside = ops.convert_to_numpy(bent["mask"]) == 1
        >>> bool(image[inside].min() > 0.2), bool((inside != (mask == 1)).any())
        (True, True)

    Reference:
        Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image
        Segmentation", MICCAI 2015, section 3.1, https://arxiv.org/abs/1505.04597. Keys, "Cubic
        convolution interpolation for digital image processing", 1981,
        https://doi.org/10.1109/TASSP.1981.1163711
    """

    def __init__(
        self,
        stddev: float = 10.0,
        points: int = 3,
        *,
        masks: Mapping[str, int] | None = None,
        interpolation: str = "bilinear",
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)  # half precision is too coarse for coordinates
        self.stddev = check_number("stddev", stddev, least=0)
        self.points = check_integer("points", points, least=2)
        self.masks = check_mask_classes(masks)
        self.interpolation = check_one_of("interpolation", interpolation, ("nearest", "bilinear"))
        self.fill_mode = check_one_of("fill_mode", fill_mode, _FILL_MODES)
        self.fill_value = float(fill_value)
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Return the images with their masks, bent in training."""
        alone = not isinstance(inputs, Mapping)
        given = {IMAGES: inputs} if alone else dict(inputs)
        masks = {} if alone else self.masks
        check_entries(given, list(masks))
        given[IMAGES] = ops.cast(ops.convert_to_tensor(given[IMAGES]), self.compute_dtype)
        if training:
            given |= self._bend(given, masks)
        return given[IMAGES] if alone else given

    def _bend(self, given: Mapping[str, Any], masks: Mapping[str, int]) -> dict[str, Any]:
        """Return the entries that move."""
        images = given[IMAGES]
        is_first = keras.config.image_data_format() == "channels_first"
        size = images.shape[2:] if is_first else images.shape[1:3]
        if None in size:
            raise ValueError(
                "images must have a known height and width to be bent. Received: shape "
                f"{tuple(images.shape)}"
            )
        rows, columns = self._draw(ops.shape(images)[0], size)
        planes = ops.transpose(images, (0, 2, 3, 1)) if is_first else images
        sample = _sample_nearest if self.interpolation == "nearest" else _sample_bilinear
        bent = sample(planes, rows, columns, self.fill_mode, self.fill_value)
        moved = {IMAGES: ops.transpose(bent, (0, 3, 1, 2)) if is_first else bent}
        for name, outside in masks.items():
            mask = ops.convert_to_tensor(given[name])
            has_channels = len(mask.shape) == 4
            check_mask_size(mask, size, is_first and has_channels)
            planes = mask if has_channels else ops.expand_dims(mask, -1)
            if is_first and has_channels:
                planes = ops.transpose(planes, (0, 2, 3, 1))
            planes = _sample_nearest(planes, rows, columns, self.fill_mode, outside)
            if is_first and has_channels:
                planes = ops.transpose(planes, (0, 3, 1, 2))
            moved[name] = planes if has_channels else ops.squeeze(planes, -1)
        return moved

    def _draw(self, count: Any, size: tuple[int, int]) -> tuple[Any, Any]:
        """Return the row and the column that each pixel shows, `(batch, height, width)` each."""
        shape = (count, 2, self.points, self.points)
        grid = keras.random.normal(shape, 0.0, self.stddev, "float32", self.generator)
        down, across = (_interpolation(self.points, side) for side in size)
        field = ops.matmul(ops.matmul(down, grid), across.T)
        height, width = size
        rows = ops.reshape(ops.arange(height, dtype="float32"), (-1, 1))
        return field[:, 0] + rows, field[:, 1] + ops.arange(width, dtype="float32")

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
            "stddev": self.stddev,
            "points": self.points,
            "masks": self.masks,
            "interpolation": self.interpolation,
            "fill_mode": self.fill_mode,
            "fill_value": self.fill_value,
            "seed": self.seed,
        }


def _interpolation(points: int, side: int) -> np.ndarray:
    """Return the weight of each grid point in each pixel along a side, `(side, points)` float32.

    Cubic convolution (Keys, a = -1/2); the outermost points are repeated beyond the ends.
    """
    places = np.linspace(0, points - 1, side)[:, None]
    distance = np.abs(places - np.arange(-2, points + 2))
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = np.where(distance <= 1, near, np.where(distance < 2, far, 0))
    inner = weights[:, 2:-2].copy()
    inner[:, 0] += weights[:, :2].sum(axis=1)
    inner[:, -1] += weights[:, -2:].sum(axis=1)
    return inner.astype("float32")


def _sample_bilinear(
    images: Any, rows: Any, columns: Any, fill_mode: str, fill_value: float
) -> Any:
    """Return images at the given places, interpolated between the four nearest pixels."""
    top, left = ops.floor(rows), ops.floor(columns)
    down = ops.cast(ops.expand_dims(rows - top, -1), images.dtype)
    right = ops.cast(ops.expand_dims(columns - left, -1), images.dtype)

    def take(below: int, beside: int) -> Any:
        return _take(images, top + below, left + beside, fill_mode, fill_value)

    upper = take(0, 0) * (1 - right) + take(0, 1) * right
    lower = take(1, 0) * (1 - right) + take(1, 1) * right
    return upper * (1 - down) + lower * down


def _sample_nearest(images: Any, rows: Any, columns: Any, fill_mode: str, fill_value: float) -> Any:
    """Return the nearest pixel to each of the given places."""
    return _take(images, ops.round(rows), ops.round(columns), fill_mode, fill_value)


def _take(images: Any, rows: Any, columns: Any, fill_mode: str, fill_value: float) -> Any:
    """Return pixels `(batch, height, width, channels)` by whole rows and columns."""
    _, height, width, channels = images.shape
    inside = [_fold(rows, height, fill_mode), _fold(columns, width, fill_mode)]
    count = ops.shape(images)[0]
    first = ops.reshape(ops.arange(count, dtype="int32") * (height * width), (-1, 1, 1))
    place = first + inside[0] * width + inside[1]
    taken = ops.take(ops.reshape(images, (-1, channels)), place, axis=0)
    if fill_mode != "constant":
        return taken
    is_outside = (rows < 0) | (rows > height - 1) | (columns < 0) | (columns > width - 1)
    filler = ops.cast(fill_value, taken.dtype)
    return ops.where(ops.expand_dims(is_outside, -1), filler, taken)


def _fold(places: Any, side: int, fill_mode: str) -> Any:
    """Return whole places as int32 within a side."""
    if fill_mode == "reflect":  # d c b a | a b c d | d c b a
        places = ops.mod(places, 2 * side)
        places = ops.minimum(places, 2 * side - 1 - places)
    return ops.cast(ops.clip(places, 0, side - 1), "int32")
