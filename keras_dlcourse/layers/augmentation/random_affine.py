"""Augmentation that moves images and what is marked in them together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import is_real, is_whole, one_of
from keras_dlcourse.boxes.formats import check_format, convert_boxes
from keras_dlcourse.data.keypoints import swapped
from keras_dlcourse.layers.augmentation._motion import Motion, into_box, out_of_box

IMAGES = "images"
_POINTS = ("xy", "rel_xy")
_FILL_MODES = ("constant", "nearest", "wrap", "mirror", "reflect")


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class RandomAffine(keras.layers.Layer):
    """Turn, shear, scale, shift and mirror images at random, and what is marked in them.

    Each image of a batch has its own draw. One matrix moves pixels, masks and coordinates, so they
    cannot part. Outside of training nothing changes, and nothing of it is in an exported file.

    A box becomes the smallest upright one around its moved corners, cut at the edges of the image:
    around a turned object it is larger than need be. A box that is left wholly outside becomes NaN,
    which `kd.losses.MultitaskLoss` takes for a missing label. Of points with a third number,
    whether they are visible, those that leave the image get 0 there.

    Args:
        degrees: The largest angle to turn by, either way.
        shear: The largest angle that upright lines lean by, either way, in degrees.
        scale: The least and the largest factor of size; drawn evenly in its logarithm.
        translation: The largest shift, either way, as a share of width and height.
        horizontal_flip: Whether half of the images are mirrored.
        boxes: The entries of a dictionary that are boxes, each with its format, one of
            `kd.data.BOX_FORMATS`.
        keypoints: The entries that are keypoints, each with what they are: `"xy"` in pixels,
            `"rel_xy"` in shares of the image, or the name of an entry of `boxes` to whose box they
            are relative, as `kd.data.keypoints_to_box` makes them.
        masks: The entries that are segmentation masks, each with the class that stands where no
            pixel came from, under `fill_mode="constant"`. A mask takes the nearest pixel: there is
            nothing between two classes.
        flip_pairs: Keypoints that change places when an image is mirrored, such as the left and the
            right eye.
        interpolation: `"bilinear"` or `"nearest"`.
        fill_mode: What stands where no pixel came from: `"constant"`, `"nearest"`, `"reflect"`,
            `"mirror"` or `"wrap"`. All but the first two show parts of the object again.
        fill_value: The value for `"constant"`.
        seed: Seed of the draws.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Images `(batch, height, width, channels)`, alone or in a dictionary as `"images"`,
            with others: boxes `(batch, 4)` or `(batch, boxes, 4)`, keypoints `(batch, points, 2 or
            3)`, masks of class numbers as large as the image, `(batch, height, width)` or with an
            axis of channels, and what no argument names, which stays as it is.
        training: Whether to augment.

    Returns:
        What came in, moved.

    Raises:
        ValueError: If an argument is out of its range, a format or an entry is not known, or a
            shape is another.

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
        self.degrees = _within("degrees", degrees, 180)
        self.shear = _within("shear", shear, 80)
        self.scale = _checked_scale(scale)
        self.translation = _within("translation", translation, 1)
        self.horizontal_flip = bool(horizontal_flip)
        self.boxes = {
            name: check_format(f"the format of {name!r}", given)
            for name, given in (boxes or {}).items()
        }
        self.keypoints = {
            name: _checked_points(name, given, self.boxes)
            for name, given in (keypoints or {}).items()
        }
        self.masks = {name: _checked_class(name, given) for name, given in (masks or {}).items()}
        self.flip_pairs = [(int(one), int(other)) for one, other in flip_pairs]
        self.interpolation = one_of("interpolation", interpolation, ("nearest", "bilinear"))
        self.fill_mode = one_of("fill_mode", fill_mode, _FILL_MODES)
        self.fill_value = float(fill_value)
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)
        # TensorFlow's kernel moves images on CPUs and GPUs, but XLA does not know it.
        self.supports_jit = keras.backend.backend() != "tensorflow"

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Return images, and what is marked in them, moved if this is training."""
        alone = not isinstance(inputs, Mapping)
        given = {IMAGES: inputs} if alone else dict(inputs)
        marks = [] if alone else [*self.boxes, *self.keypoints]
        masks = {} if alone else self.masks
        _check_entries(given, [*marks, *masks])
        given[IMAGES] = ops.cast(ops.convert_to_tensor(given[IMAGES]), self.compute_dtype)
        given |= {name: _floats(given[name]) for name in marks}
        if training:
            given |= self._moved(given, marks, masks)
        return given[IMAGES] if alone else given

    def _moved(
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
            moved[name] = self._mask(given[name], matrices, (height, width), outside)
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
            moved[name] = self._points(given[name], kind, motion, before, after)
        return moved

    def _mask(self, mask: Any, matrices: Any, size: tuple[int, int], outside: int) -> Any:
        """Return a mask, moved, in the type in which it came."""
        mask = ops.convert_to_tensor(mask)
        has_channels = len(mask.shape) == 4
        planes = mask if has_channels else ops.expand_dims(mask, -1)
        data_format = keras.config.image_data_format() if has_channels else "channels_last"
        first = 2 if data_format == "channels_first" else 1
        if len(planes.shape) != 4 or tuple(planes.shape[first : first + 2]) != tuple(size):
            raise ValueError(
                f"masks must be as large as the images, {tuple(size)}. Received: shape "
                f"{tuple(mask.shape)}"
            )
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

    def _points(self, points: Any, kind: str, motion: Motion, before: Any, after: Any) -> Any:
        """Return keypoints of one entry, moved."""
        if len(points.shape) != 3 or points.shape[-1] not in (2, 3):
            raise ValueError(
                f"keypoints must be (batch, points, 2 or 3). Received: {tuple(points.shape)}"
            )
        if before is not None and len(before.shape) != 2:
            raise ValueError(
                f"keypoints relative to a box need one box an image, (batch, 4). Received: "
                f"{tuple(before.shape)}"
            )
        order = swapped(points.shape[1], self.flip_pairs)
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
        # A point that is not visible has no place: NaN would spread from a box that is gone.
        places = ops.where(visible[..., None] > 0, places, 0.0)
        return ops.concatenate([places, visible[..., None]], axis=-1)

    def _draw(self, count: Any, size: Any) -> Motion:
        """Draw how each of `count` images moves."""

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
        """Return what comes out, by shape and type."""
        names = [*self.boxes, *self.keypoints]
        if not isinstance(inputs, Mapping):
            return keras.KerasTensor(inputs.shape, self.compute_dtype)
        return {
            name: keras.KerasTensor(
                part.shape,
                self.compute_dtype
                if name == IMAGES
                else "float32"
                if name in names
                else part.dtype,
            )
            for name, part in inputs.items()
        }

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this layer again."""
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


def _check_entries(given: Mapping[str, Any], names: Sequence[str]) -> None:
    missing = [name for name in (IMAGES, *names) if name not in given]
    if missing:
        raise ValueError(
            f"inputs lack {', '.join(map(repr, missing))}. Received: {', '.join(map(repr, given))}"
        )
    if len(given[IMAGES].shape) != 4:
        raise ValueError(
            f"images must be a batch of rank 4. Received: shape {tuple(given[IMAGES].shape)}"
        )


def _checked_class(name: str, given: Any) -> int:
    if not is_whole(given):
        raise ValueError(
            f"what stands outside of the mask {name!r} must be a class number. Received: {given!r}"
        )
    return int(given)


def _checked_points(name: str, given: str, boxes: Mapping[str, str]) -> str:
    known = (*_POINTS, *boxes)
    return one_of(f"what the keypoints {name!r} are", given, known)


def _checked_scale(scale: Sequence[float]) -> tuple[float, float]:
    if not isinstance(scale, Sequence) or len(scale) != 2 or not all(map(is_real, scale)):
        raise ValueError(f"scale must be two numbers, least and largest. Received: {scale!r}")
    low, high = map(float, scale)
    if not 0 < low <= high:
        raise ValueError(f"scale must be above 0, the least first. Received: {scale!r}")
    return low, high


def _within(name: str, value: Any, most: float) -> float:
    if not is_real(value) or not 0 <= value <= most:
        raise ValueError(f"{name} must be a number from 0 to {most}. Received: {value!r}")
    return float(value)
