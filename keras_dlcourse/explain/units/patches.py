"""The image patches that activate a unit of a network most."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse import backend
from keras_dlcourse._checks import check_integer, is_whole
from keras_dlcourse._progress import track
from keras_dlcourse.data.stream import count_batches, stream
from keras_dlcourse.explain.engine.inputs import check_inputs
from keras_dlcourse.graph.receptive_field import ReceptiveField, fields, place_of
from keras_dlcourse.graph.running import Network, Place

Unit = int | tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Patch:
    """A part of an image that activates a unit.

    Attributes:
        image: Index of the image in the data, from 0.
        value: Activation of the unit there.
        position: Row and column in the feature maps; (0, 0) for a layer without positions.
        box: The receptive field in the image: (left, top, right, bottom), `"xyxy"` in Keras's
            terms, right and bottom exclusive.
        clipped: Whether the field extends beyond the image, so that the box is smaller.
        crop: The pixels of the box, unchanged from the data, `(height, width, channels)`.
    """

    image: int
    value: float
    position: tuple[int, int]
    box: tuple[int, int, int, int]
    clipped: bool
    crop: np.ndarray


def maximal_patches(
    model: keras.Model,
    layer: str | None,
    unit: Unit,
    images: Any,
    k: int = 9,
    *,
    batch_size: int = 32,
) -> list[Patch]:
    """Return the patches that activate a unit most, one from each of `k` different images.

    A channel detects the same pattern everywhere, so each image counts with the position where the
    activation is highest, or with one fixed position if `unit` names it. The patch is the receptive
    field of that position. The data is read once; only one batch and the `k` patches are in memory.

    Args:
        model: A functional or Sequential model with one input.
        layer: Name of the layer, with or without the names of its nested models; None uses the same
            feature maps as `grad_cam`. The receptive field of a layer without positions, such as
            the class scores, is the whole image.
        unit: Index of the channel, or (row, column, channel).
        images: Any data: a `kd.data.pipeline`, an array, lazily read images, a
            `keras.utils.PyDataset`, or an iterable of batches such as a `tf.data.Dataset`.
        k: Number of patches; if there are fewer images, there are fewer patches.
        batch_size: Maximum number of images per batch.

    Returns:
        The patches, strongest first; for equal values, the earlier image first.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If there is no such layer or unit, the images do not match the model, or the
            unit outputs NaN.

    Example:
        >>> model = keras.applications.MobileNet((32, 32, 3), alpha=0.25, weights=None)
        >>> images = np.random.default_rng(0).uniform(size=(20, 32, 32, 3))
        >>> patches = maximal_patches(model, "conv_pw_1_relu", 3, images, k=4)
        >>> len({patch.image for patch in patches}), patches[0].value >= patches[3].value
        (4, True)

    Reference:
        Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014,
        https://arxiv.org/abs/1311.2901
    """
    k = check_integer("k", k)
    network = Network(model)
    if len(network.model.inputs) != 1:
        raise ValueError(
            f"model {model.name!r} has {len(network.model.inputs)} inputs; maximal_patches needs "
            "a model with one input. Pass keras.Model(one_input, layer_output)."
        )
    place = place_of(network, layer)
    peaks = _peaks(network, place, _check_unit(unit, place))
    field_of_size: dict[tuple[int, int], ReceptiveField] = {}
    best: list[tuple[float, int, Patch]] = []  # a heap: the weakest comes first
    seen = 0
    batches = track(
        stream(images, batch_size), count_batches(images, batch_size), "Finding patches"
    )
    for inputs, stored in batches:
        (checked,) = check_inputs(network.model, inputs)
        size = _image_size(checked)
        if size not in field_of_size:
            field_of_size[size] = fields(network, size)[place]
        values, rows, columns = peaks(checked)
        _check_finite(values, place, seen)
        for number in range(len(checked)):
            value, image = float(values[number]), seen + number
            if len(best) == k and (value, -image) <= best[0][:2]:
                continue
            position = int(rows[number]), int(columns[number])
            patch = _patch(image, value, position, field_of_size[size], stored[number])
            if len(best) == k:
                heapq.heapreplace(best, (value, -image, patch))
            else:
                heapq.heappush(best, (value, -image, patch))
        seen += len(checked)
    return [patch for *_, patch in sorted(best, key=lambda entry: entry[:2], reverse=True)]


def _patch(
    image: int, value: float, position: tuple[int, int], field: ReceptiveField, pixels: np.ndarray
) -> Patch:
    left, top, right, bottom = box = field.region(*position)
    first = keras.config.image_data_format() == "channels_first"
    last = np.moveaxis(pixels, 0, -1) if first else pixels
    crop = np.array(last[top:bottom, left:right])  # a copy, so that the batch can be freed
    return Patch(image, value, position, box, field.is_clipped(*position), crop)


def _peaks(network: Network, place: Place, unit: Unit) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Return a function from images to the highest values of a unit, their rows and columns."""

    def function(images: Any) -> Any:
        given = ops.cast(images, network.model.inputs[0].dtype)
        maps = ops.cast(network.output_at(place, [given]), "float32")
        maps = ops.moveaxis(maps, 1, -1) if _is_channels_first(place) else maps
        if len(maps.shape) == 2:
            maps = maps[:, None, None, :]
        count, _, columns, _ = maps.shape
        if not isinstance(unit, int):
            row, column, channel = unit
            ones = ops.ones((count,), "int32")
            return maps[:, row, column, channel], row * ones, column * ones
        plane = ops.reshape(maps[..., unit], (count, -1))
        top = ops.cast(ops.argmax(plane, axis=1), "int32")
        return ops.max(plane, axis=1), top // columns, top % columns

    compute = backend.compiled(function, network.model.variables)
    return lambda images: [np.asarray(ops.convert_to_numpy(x)) for x in compute(images)]


def _check_unit(unit: Unit, place: Place) -> Unit:
    shape = place.shape[1:]
    if len(shape) not in (1, 3):
        raise ValueError(
            f"layer {place.name!r} outputs the shape {shape} for an image; maximal_patches needs "
            "feature maps (height, width, channels) or scores (channels,)."
        )
    sizes = (*shape[1:], shape[0]) if _is_channels_first(place) else shape
    numbers = unit if isinstance(unit, tuple) else (unit,)
    if not all(map(is_whole, numbers)):
        raise TypeError(
            f"unit must be the index of a channel, or (row, column, channel). Received: {unit!r}."
        )
    limits = sizes[-1:] if not isinstance(unit, tuple) else sizes
    if len(numbers) != len(limits) or not all(
        limit is None or 0 <= number < limit for number, limit in zip(numbers, limits, strict=True)
    ):
        raise ValueError(
            f"unit must be a channel below {sizes[-1]}, or (row, column, channel) within {sizes}, "
            f"the output of layer {place.name!r}. Received: {unit!r}."
        )
    return tuple(map(int, unit)) if isinstance(unit, tuple) else int(unit)  # type: ignore[return-value]


def _check_finite(values: np.ndarray, place: Place, seen: int) -> None:
    if np.isnan(values).any():
        image = seen + int(np.isnan(values).argmax())
        raise ValueError(
            f"layer {place.name!r} outputs NaN for image {image}. Check the weights and the image "
            "for NaN."
        )


def _is_channels_first(place: Place) -> bool:
    return getattr(place.node.operation, "data_format", None) == "channels_first"


def _image_size(images: np.ndarray) -> tuple[int, int]:
    first = keras.config.image_data_format() == "channels_first"
    height, width = images.shape[2:4] if first else images.shape[1:3]
    return int(height), int(width)
