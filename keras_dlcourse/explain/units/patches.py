"""The patches of images that excite a unit of a network most."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse import backend
from keras_dlcourse._progress import track
from keras_dlcourse.data import checks
from keras_dlcourse.data.stream import count_batches, stream
from keras_dlcourse.explain.engine.inputs import checked_inputs
from keras_dlcourse.graph.receptive_field import ReceptiveField, fields, place_of
from keras_dlcourse.graph.running import Network, Place

Unit = int | tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Patch:
    """A part of an image that excites a unit.

    Attributes:
        image: Number of the image in the data, from 0 on.
        value: What the unit gives there.
        position: Row and column in the feature maps; (0, 0) of a layer without positions.
        box: The receptive field in the image: (left, top, right, bottom), `"xyxy"` in Keras's
            terms, right and bottom exclusive.
        clipped: Whether the field reaches over the border of the image, so that the box is smaller.
        crop: The pixels of the box as the data has them, `(height, width, channels)`.
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
    """Return the patches that excite a unit most, one each of `k` different images.

    A unit of feature maps sees the same everywhere, so of each image the position counts where it
    is excited most; or one position, if `unit` names it. What it sees is its receptive field. The
    data is read once, and of it one batch and the `k` patches are held.

    Args:
        model: A functional or Sequential model with one input.
        layer: Name of the layer, with the names of the nested models around it or without; None
            takes the feature maps that `grad_cam` takes. A layer without positions, such as the
            class scores, sees the whole image.
        unit: Number of the channel, or (row, column, channel).
        images: Any data: a `kd.data.pipeline`, an array, images that are read on use, a
            `keras.utils.PyDataset`, an iterable of batches such as a `tf.data.Dataset`.
        k: How many patches; fewer come if there are fewer images.
        batch_size: Images computed at a time, at most.

    Returns:
        The patches, the strongest first; of equals the earlier image.

    Raises:
        TypeError: If an argument is of another kind.
        ValueError: If there is no such layer or unit, the images do not fit, or the unit gives NaN.

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
    k = checks.whole_number("k", k, least=1)
    network = Network(model)
    if len(network.model.inputs) != 1:
        raise ValueError(
            f"model {model.name!r} has {len(network.model.inputs)} inputs; maximal_patches takes "
            "models of one. Pass keras.Model(one_input, layer_output)."
        )
    place = place_of(network, layer)
    peaks = _peaks(network, place, _checked_unit(unit, place))
    field_of_size: dict[tuple[int, int], ReceptiveField] = {}
    best: list[tuple[float, int, Patch]] = []  # a heap: the weakest of the best comes first
    seen = 0
    batches = track(stream(images, batch_size), count_batches(images, batch_size), "looking")
    for inputs, stored in batches:
        (checked,) = checked_inputs(network.model, inputs)
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
    crop = np.array(last[top:bottom, left:right])  # a copy, or it would hold its whole batch
    return Patch(image, value, position, box, field.is_clipped(*position), crop)


def _peaks(network: Network, place: Place, unit: Unit) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Return a function of images: a unit's strongest value in each, and its row and column."""

    def function(images: Any) -> Any:
        given = ops.cast(images, network.model.inputs[0].dtype)
        maps = ops.cast(network.output_at(place, [given]), "float32")
        maps = ops.moveaxis(maps, 1, -1) if _channels_first(place) else maps
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


def _checked_unit(unit: Unit, place: Place) -> Unit:
    shape = place.shape[1:]
    if len(shape) not in (1, 3):
        raise ValueError(
            f"layer {place.name!r} gives {shape} for an image; maximal_patches takes feature maps "
            "(height, width, channels) or scores (channels,)"
        )
    sizes = (*shape[1:], shape[0]) if _channels_first(place) else shape
    numbers = unit if isinstance(unit, tuple) else (unit,)
    if not all(isinstance(number, int | np.integer) for number in numbers) or bool in map(
        type, numbers
    ):
        raise TypeError(
            f"unit must be the number of a channel, or (row, column, channel). Received: {unit!r}"
        )
    limits = sizes[-1:] if not isinstance(unit, tuple) else sizes
    if len(numbers) != len(limits) or not all(
        limit is None or 0 <= number < limit for number, limit in zip(numbers, limits, strict=True)
    ):
        raise ValueError(
            f"layer {place.name!r} gives {sizes}, channels last: unit must be a channel below "
            f"{sizes[-1]}, or (row, column, channel) within. Received: {unit!r}"
        )
    return tuple(map(int, unit)) if isinstance(unit, tuple) else int(unit)  # type: ignore[return-value]


def _check_finite(values: np.ndarray, place: Place, seen: int) -> None:
    if np.isnan(values).any():
        image = seen + int(np.isnan(values).argmax())
        raise ValueError(
            f"layer {place.name!r} gives NaN for image {image}: the weights are broken, or the "
            "image is"
        )


def _channels_first(place: Place) -> bool:
    return getattr(place.node.operation, "data_format", None) == "channels_first"


def _image_size(images: np.ndarray) -> tuple[int, int]:
    first = keras.config.image_data_format() == "channels_first"
    height, width = images.shape[2:4] if first else images.shape[1:3]
    return int(height), int(width)
