"""Augmentation that moves images together with their boxes, keypoints and masks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import check_number, check_one_of, is_real, is_whole
from keras_dlcourse.boxes.formats import check_format, convert_boxes
from keras_dlcourse.data.keypoints import swap_pairs
from keras_dlcourse.layers.augmentation._motion import Motion, into_box, out_of_box

IMAGES = "images"
_POINTS = ("xy", "rel_xy")
_FILL_MODES = ("constant", "nearest", "wrap", "mirror", "reflect")


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class RandomAffine(keras.layers.Layer):
    """Randomly rotate, shear, scale, shift and mirror images with their boxes, keypoints and masks.

    Each image of a batch gets its own random transform. One matrix moves pixels, masks and
    coordinates, so they stay aligned. Outside training nothing changes, and an exported file
    contains nothing of it.

    A box becomes the smallest upright box around its moved corners, clipped to the image: around a
    rotated object it is larger than necessary. A box that ends up entirely outside becomes NaN,
    which `kd.losses.MultitaskLoss` treats as a missing label. If points have a third value, their
    visibility, it becomes 0 for points that leave the image.

    Args:
        degrees: Maximum rotation angle, in both directions.
        shear: Maximum angle by which vertical lines tilt, in both directions, in degrees.
        scale: Minimum and maximum scale factor; its logarithm is drawn uniformly.
        translation: Maximum shift, in both directions, as a fraction of width and height.
        horizontal_flip: Whether to mirror half of the images.
        boxes: The dictionary entries that are boxes, each with its format, one of
            `kd.data.BOX_FORMATS`.
        keypoints: The dictionary entries that are keypoints, each with its kind: `"xy"` in pixels,
            `"rel_xy"` in fractions of the image, or the name of the entry of `boxes` that they are
            relative to, as `kd.data.keypoints_to_box` returns them.
        masks: The dictionary entries that are segmentation masks, each with the class that fills
            areas outside the image under `fill_mode="constant"`. Masks always use nearest-pixel
            interpolation: class numbers cannot be interpolated.
        flip_pairs: Pairs of keypoints that are swapped when an image is mirrored, such as the left
            and right eye.
        interpolation: `"bilinear"` or `"nearest"`.
        fill_mode: How to fill areas outside the image: `"constant"`, `"nearest"`, `"reflect"`,
            `"mirror"` or `"wrap"`. All but the first two repeat parts of the object.
        fill_value: The value for `"constant"`.
        seed: Random seed.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Images `(batch, height, width, channels)`, alone or as `"images"` in a dictionary
            with other entries: boxes `(batch, 4)` or `(batch, boxes, 4)`, keypoints `(batch,
            points, 2 or 3)`, masks of class numbers as large as the image, `(batch, height, width)`
            or with a channel axis. Entries that no argument names are unchanged.
        training: Whether to augment.

    Returns:
        The inputs, moved.

    Raises:
        ValueError: If an argument is out of range, a format or entry is unknown, or a shape is not
            supported.

    Example:
        >>> import numpy as np
        >>> flip = RandomAffine(horizontal_flip=True, boxes={"box": "rel_xyxy"}, seed=1)
        >>> image = np.zeros((4, 8, 8, 3), "float32")
        >>> moved = flip({"images": image, "box": np.tile([0.0, 0.5, 0.25, 1.0], (4, 1))},
        ...              training=True)
        >>> sorted({tuple(box) for box in ops.convert_to_numpy(moved["box"]).tolist()})
        [(0.0, 0.5, 0.25, 1.0), (0.75, 0.5, 1.0, 1.0)]
    """

    def __init__(
        self,
        degrees: float = 0.0,
        shear: float = 0.0,
        scale: Sequence[float] = (1.0, 1.0),
        translation: float = 0.0,
        horizontal_flip: bool = False,
        *,
        boxes: Mapping[str, str] | None = None,
        keypoints: Mapping[str, str] | None = None,
        masks: Mapping[str, int] | None = None,
        flip_pairs: Sequence[tuple[int, int]] = (),
        interpolation: str = "bilinear",
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)  # half precision is too coarse for coordinates
        self.degrees = _check_amount("degrees", degrees, 180)
        self.shear = _check_amount("shear", shear, 80)
        self.scale = _check_scale(scale)
        self.translation = _check_amount("translation", translation, 1)
        self.horizontal_flip = bool(horizontal_flip)
        self.boxes = {
            name: check_format(f"the format of {name!r}", given)
            for name, given in (boxes or {}).items()
        }
        self.keypoints = {
            name: _check_points(name, given, self.boxes)
            for name, given in (keypoints or {}).items()
        }
        self.masks = check_mask_classes(masks)
        self.flip_pairs = [(int(one), int(other)) for one, other in flip_pairs]
        self.interpolation = check_one_of("interpolation", interpolation, ("nearest", "bilinear"))
        self.fill_mode = check_one_of("fill_mode", fill_mode, _FILL_MODES)
        self.fill_value = float(fill_value)
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)
        # TensorFlow's transform kernel runs on CPUs and GPUs, but XLA does not support it.
        self.supports_jit = keras.backend.backend() != "tensorflow"

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Return the images with their boxes, keypoints and masks, moved in training."""
        alone = not isinstance(inputs, Mapping)
        given = {IMAGES: inputs} if alone else dict(inputs)
        marks = [] if alone else [*self.boxes, *self.keypoints]
        masks = {} if alone else self.masks
        check_entries(given, [*marks, *masks])
        given[IMAGES] = ops.cast(ops.convert_to_tensor(given[IMAGES]), self.compute_dtype)
        given |= {name: _floats(given[name]) for name in marks}
        if training:
            given |= self._move(given, marks, masks)
        return given[IMAGES] if alone else given

    def _move(
        self, given: Mapping[str, Any], marks: Sequence[str], masks: Mapping[str, int]
    ) -> dict[str, Any]:
        """Return the entries that move."""
        images = given[IMAGES]
        first = keras.config.image_data_format() == "channels_first"
        height, width = images.shape[2:] if first else images.shape[1:3]
        size = ops.convert_to_tensor([width, height], "float32")
        motion = self._draw(ops.shape(images)[0], size)
        matrices = motion.to_pixels()
        moved = {
            IMAGES: ops.image.affine_transform(
                images,
                ops.cast(matrices, images.dtype),
                interpolation=self.interpolation,
                fill_mode=self.fill_mode,
                fill_value=self.fill_value,
            )
        }
        for name, outside in masks.items():
            moved[name] = self._move_mask(given[name], matrices, (height, width), outside)
        upright = {}  # left, top, right, bottom in pixels, before and after
        for name in (name for name in self.boxes if name in marks):
            kind = self.boxes[name]
            before = convert_boxes(given[name], kind, "xyxy", height, width)
            after = motion.boxes(before)
            upright[name] = before, after
            moved[name] = convert_boxes(after, "xyxy", kind, height, width)
        for name in (name for name in self.keypoints if name in marks):
            kind = self.keypoints[name]
            before, after = upright.get(kind, (None, None))
            moved[name] = self._move_points(given[name], kind, motion, before, after)
        return moved

    def _move_mask(self, mask: Any, matrices: Any, size: tuple[int, int], outside: int) -> Any:
        """Return the moved mask, in its original dtype."""
        mask = ops.convert_to_tensor(mask)
        has_channels = len(mask.shape) == 4
        planes = mask if has_channels else ops.expand_dims(mask, -1)
        data_format = keras.config.image_data_format() if has_channels else "channels_last"
        check_mask_size(mask, size, data_format == "channels_first")
        moved = ops.image.affine_transform(
            ops.cast(planes, "float32"),
            matrices,
            interpolation="nearest",
            fill_mode=self.fill_mode,
            fill_value=outside,
            data_format=data_format,
        )
        moved = ops.cast(ops.round(moved), mask.dtype)
        return moved if has_channels else ops.squeeze(moved, -1)

    def _move_points(self, points: Any, kind: str, motion: Motion, before: Any, after: Any) -> Any:
        """Return the moved keypoints of one entry."""
        if len(points.shape) != 3 or points.shape[-1] not in (2, 3):
            raise ValueError(
                f"keypoints must be (batch, points, 2 or 3). Received: {tuple(points.shape)}"
            )
        if before is not None and len(before.shape) != 2:
            raise ValueError(
                f"keypoints relative to a box need one box per image, (batch, 4). Received: "
                f"{tuple(before.shape)}"
            )
        order = swap_pairs(points.shape[1], self.flip_pairs)
        flipped = ops.take(points, order, axis=1)
        points = ops.where(motion.is_flipped[:, None, None], flipped, points)
        unit = motion.size if kind != "xy" else 1.0
        places = points[..., :2] * unit if before is None else out_of_box(points, before)
        places = motion.points(places)
        inside = ops.all((places >= 0) & (places <= motion.size), axis=-1)
        if after is not None:
            inside = inside & ops.logical_not(ops.isnan(after[:, :1]))
        places = places / unit if after is None else into_box(places, after)
        if points.shape[-1] == 2:
            return places
        visible = ops.where(inside, points[..., 2], 0.0)
        # Invisible points get coordinates 0: a box outside the image would give NaN.
        places = ops.where(visible[..., None] > 0, places, 0.0)
        return ops.concatenate([places, visible[..., None]], axis=-1)

    def _draw(self, count: Any, size: Any) -> Motion:
        """Draw a random motion for each of `count` images."""

        def uniform(low: float, high: float, *more: int) -> Any:
            return keras.random.uniform((count, *more), low, high, "float32", self.generator)

        angle, lean = (math.radians(most) for most in (self.degrees, self.shear))
        turn = uniform(-angle, angle)
        slope = ops.tan(uniform(-lean, lean))
        factor = ops.exp(uniform(math.log(self.scale[0]), math.log(self.scale[1])))
        shift = uniform(-self.translation, self.translation, 2) * size
        flip = uniform(0, 1) < (0.5 if self.horizontal_flip else 0.0)
        mirror = ops.where(flip, -1.0, 1.0)
        cos, sin = ops.cos(turn) * factor, ops.sin(turn) * factor
        rows = [(cos * mirror, cos * slope - sin), (sin * mirror, sin * slope + cos)]
        matrix = ops.stack([ops.stack(row, axis=-1) for row in rows], axis=-2)
        return Motion(matrix, shift, size, flip)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return `input_shape`."""
        return input_shape

    def compute_output_spec(self, inputs: Any, training: bool = False) -> Any:
        """Return the shapes and dtypes of the outputs."""
        return spec_of(inputs, self.compute_dtype, (*self.boxes, *self.keypoints))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this layer."""
        return {
            **super().get_config(),
            "degrees": self.degrees,
            "shear": self.shear,
            "scale": list(self.scale),
            "translation": self.translation,
            "horizontal_flip": self.horizontal_flip,
            "boxes": self.boxes,
            "keypoints": self.keypoints,
            "masks": self.masks,
            "flip_pairs": [list(pair) for pair in self.flip_pairs],
            "interpolation": self.interpolation,
            "fill_mode": self.fill_mode,
            "fill_value": self.fill_value,
            "seed": self.seed,
        }


def _floats(values: Any) -> Any:
    return ops.cast(ops.convert_to_tensor(values), "float32")


def check_mask_size(mask: Any, size: Sequence[int], is_channels_first: bool) -> None:
    """Raise ValueError unless masks `(batch, height, width)`, or with channels, have a size."""
    first = 2 if is_channels_first else 1
    if len(mask.shape) not in (3, 4) or tuple(mask.shape[first : first + 2]) != tuple(size):
        raise ValueError(
            f"masks must be as large as the images, {tuple(size)}. Received: shape "
            f"{tuple(mask.shape)}"
        )


def check_entries(given: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise ValueError unless a dictionary has a batch of images, and the entries in `names`."""
    missing = [name for name in (IMAGES, *names) if name not in given]
    if missing:
        raise ValueError(
            f"inputs lack {', '.join(map(repr, missing))}. Received: {', '.join(map(repr, given))}"
        )
    if len(given[IMAGES].shape) != 4:
        raise ValueError(
            f"images must be a batch of rank 4. Received: shape {tuple(given[IMAGES].shape)}"
        )


def spec_of(inputs: Any, dtype: str, places: Sequence[str] = ()) -> Any:
    """Return the shapes and dtypes of augmented entries, or of images alone.

    Args:
        inputs: The entries, or the images.
        dtype: The dtype of images.
        places: The entries that are float32, whatever was given; others keep their dtype.
    """
    if not isinstance(inputs, Mapping):
        return keras.KerasTensor(inputs.shape, dtype)
    dtypes = {IMAGES: dtype, **dict.fromkeys(places, "float32")}
    return {
        name: keras.KerasTensor(part.shape, dtypes.get(name, part.dtype))
        for name, part in inputs.items()
    }


def check_mask_classes(masks: Mapping[str, int] | None) -> dict[str, int]:
    """Return the class that fills each mask where there is no image."""
    return {name: _check_class(name, given) for name, given in (masks or {}).items()}


def _check_class(name: str, given: Any) -> int:
    if not is_whole(given):
        raise TypeError(
            f"the fill value of the mask {name!r} must be a class number. Received: {given!r}"
        )
    return int(given)


def _check_points(name: str, given: str, boxes: Mapping[str, str]) -> str:
    known = (*_POINTS, *boxes)
    return check_one_of(f"the kind of the keypoints {name!r}", given, known)


def _check_scale(scale: Sequence[float]) -> tuple[float, float]:
    if not isinstance(scale, Sequence) or len(scale) != 2 or not all(map(is_real, scale)):
        raise ValueError(f"scale must be two numbers, smallest first. Received: {scale!r}")
    low, high = map(float, scale)
    if not 0 < low <= high:
        raise ValueError(f"scale must be above 0, smallest first. Received: {scale!r}")
    return low, high


def _check_amount(name: str, value: Any, most: float) -> float:
    return check_number(name, value, least=0, most=most)
