"""The pixels of the image that each position of a layer sees."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import keras

from keras_dlcourse.graph.places import find_place
from keras_dlcourse.graph.positions import Axis
from keras_dlcourse.graph.running import Network, Place
from keras_dlcourse.graph.seeing import Seen, channels_first, what_is_seen


@dataclass(frozen=True)
class ReceptiveField:
    """The pixels that the positions of a layer see; all pairs are (rows, columns).

    Attributes:
        size: Height and width of the field of one position, in pixels, as if the image went on
            beyond its border. Where positions differ (behind up-sampling), the largest.
        stride: Pixels between the fields of neighbouring positions; 0 if each sees everything. A
            fraction behind up-sampling.
        start: First row and column of the field of position (0, 0); negative ones lie in the
            padding.
        image_size: Height and width of the image.
        positions: Rows and columns of the layer; (1, 1) where it has none.
        whole: The layer from which on everything is seen, such as global pooling, or one that is
            not known here; empty if there is none. Then `size` is that of the image.
    """

    size: tuple[int, int]
    stride: tuple[float, float]
    start: tuple[int, int]
    image_size: tuple[int, int]
    positions: tuple[int, int]
    whole: str = ""
    _axes: tuple[Axis, ...] = field(default=(), repr=False, compare=False)

    def region(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Return the pixels of the image that a position sees.

        It is exact: a position at the border reads the padding of several layers, and of the image
        only what comes through the positions that there are.

        Args:
            row: Row of the position.
            column: Column of the position.

        Returns:
            The box (left, top, right, bottom), `"xyxy"` in Keras's terms, right and bottom
            exclusive. It is (0, 0, 0, 0) for a position that sees padding only.

        Raises:
            IndexError: If there is no such position.
        """
        self._check(row, column)
        if not self._axes:
            return 0, 0, self.image_size[1], self.image_size[0]
        (top, bottom), (left, right) = (
            (int(axis.first[at]), int(axis.last[at]) + 1)
            for axis, at in zip(self._axes, (row, column), strict=True)
        )
        return (left, top, right, bottom) if left < right and top < bottom else (0, 0, 0, 0)

    def is_clipped(self, row: int, column: int) -> bool:
        """Whether the field of a position reaches over the border of the image.

        Args:
            row: Row of the position.
            column: Column of the position.
        """
        self._check(row, column)
        return any(
            axis.unclipped(at) != (axis.first[at], axis.last[at])
            for axis, at in zip(self._axes, (row, column), strict=False)
        )

    def _check(self, row: int, column: int) -> None:
        rows, columns = self.positions
        if not (0 <= row < rows and 0 <= column < columns):
            raise IndexError(
                f"row and column must be from (0, 0) to ({rows - 1}, {columns - 1}), the "
                f"positions of the layer. Received: ({row}, {column})"
            )


def receptive_field(
    model: keras.Model,
    layer: str | None = None,
    *,
    image_size: tuple[int, int] | None = None,
    image_input: int = 0,
) -> ReceptiveField:
    """Return which pixels of the image the positions of a layer see.

    Known are convolutions (plain, depthwise, separable, transposed), pooling, padding, cropping,
    up-sampling, all that works on each position alone, sums and concatenations (the union), nested
    models and this package's blocks. A layer that mixes all positions, such as global pooling,
    Flatten or attention, sees the whole image; so, to be on the safe side, does a layer that is not
    known, and `whole` names it.

    Args:
        model: A functional or Sequential model.
        layer: Its name, with the names of the nested models around it or without. None takes the
            feature maps that `grad_cam` takes: the coarsest and, of several with that size, the
            last.
        image_size: Height and width of the image, for a model that takes any size: the padding
            `"same"` depends on it.
        image_input: Number of the input that is the image; models with one have no other.

    Returns:
        A `ReceptiveField`: size, stride and start, and `region(row, column)`.

    Raises:
        TypeError: If `model` is no Keras model or `layer` no name.
        ValueError: If there is no such layer, or the size of the image is not known.

    Example:
        >>> model = keras.applications.MobileNet((96, 96, 3), alpha=0.25, weights=None)
        >>> field = receptive_field(model, "conv_pw_11_relu")
        >>> field.size, field.stride, field.start
        ((219, 219), (16, 16), (-94, -94))
        >>> field.region(0, 3)
        (0, 0, 96, 96)

    Reference:
        Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks",
        Distill, 2019, https://doi.org/10.23915/distill.00021
    """
    network = Network(model)
    place = place_of(network, layer, image_input)
    size = image_size_of(network.model, image_size, image_input)
    return fields(network, size, image_input)[place]


def place_of(network: Network, layer: str | None, image_input: int = 0) -> Place:
    """Return the last call of a layer that sees the image, be it one without positions.

    Args:
        network: The model.
        layer: Its name, see `receptive_field`.
        image_input: Number of the model's input that is the image.

    Raises:
        TypeError: If the name is no text.
        ValueError: If there is no such layer; the closest names are suggested.
    """
    count = len(network.model.inputs)
    if isinstance(image_input, bool) or image_input not in range(count):
        raise ValueError(f"image_input must be below {count}. Received: {image_input!r}")
    sources = network.sources()
    named = [
        place
        for place in network.places
        if layer in (place.name, place.node.name) and image_input in sources[place]
    ]
    return named[-1] if named else find_place(network, layer, image_input)


def image_size_of(
    model: keras.Model, image_size: tuple[int, int] | None, image_input: int
) -> tuple[int, int]:
    """Return height and width of a model's images: its own, or those given where it has none.

    Raises:
        ValueError: If the input is no image, or the size is not known or not the model's.
    """
    shape: tuple[Any, ...] = tuple(model.inputs[image_input].shape)
    if len(shape) != 4:
        raise ValueError(
            f"input {image_input} of model {model.name!r} has the shape {shape[1:]}, which "
            "is no image (height, width, channels); choose another with image_input="
        )
    fixed = shape[2:4] if channels_first() else shape[1:3]
    if image_size is None:
        if None in fixed:
            raise ValueError(
                f"model {model.name!r} takes images of any size; say which one with "
                "image_size=(height, width)"
            )
        return int(fixed[0]), int(fixed[1])
    sizes = tuple(image_size)
    if len(sizes) != 2 or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise ValueError(
            f"image_size must be (height, width), two whole numbers above 0. Got {image_size!r}"
        )
    if any(known not in (None, size) for known, size in zip(fixed, sizes, strict=True)):
        raise ValueError(f"image_size must be {fixed} for this model. Received: {image_size!r}")
    return sizes


def fields(
    network: Network, image_size: tuple[int, int], image_input: int = 0
) -> dict[Place, ReceptiveField]:
    """Return the field of each layer that sees the image.

    Args:
        network: The model.
        image_size: Height and width of the image.
        image_input: Number of the model's input that is the image.
    """
    seen = what_is_seen(network, image_size, image_input)
    return {place: _field(what, place, image_size) for place, what in seen.items()}


def _field(seen: Seen, place: Place, image_size: tuple[int, int]) -> ReceptiveField:
    if seen.whole:
        return ReceptiveField(
            image_size, (0, 0), (0, 0), image_size, _positions(place), whole=seen.whole
        )
    rows, columns = seen.axes
    return ReceptiveField(
        (rows.size, columns.size),
        (rows.stride, columns.stride),
        (rows.low[0], columns.low[0]),
        image_size,
        (rows.count, columns.count),
        _axes=seen.axes,
    )


def _positions(place: Place) -> tuple[int, int]:
    """Return rows and columns of what comes out; of an open size, as many as can be asked for."""
    shape = place.shape
    if len(shape) != 4:
        return 1, 1
    first = getattr(place.node.operation, "data_format", None) == "channels_first"
    rows, columns = shape[2:4] if first else shape[1:3]
    return rows or 1 << 30, columns or 1 << 30
