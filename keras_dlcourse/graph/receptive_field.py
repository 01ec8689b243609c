"""Receptive fields: the image pixels seen by each position of a layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import keras

from keras_dlcourse._checks import check_integer
from keras_dlcourse.graph.places import find_place
from keras_dlcourse.graph.positions import Axis
from keras_dlcourse.graph.running import Network, Place
from keras_dlcourse.graph.seeing import Seen, find_seen, is_channels_first


@dataclass(frozen=True)
class ReceptiveField:
    """Receptive field of the positions of a layer. All pairs are (rows, columns).

    Attributes:
        size: Height and width of the field of one position, in pixels, as if the image continued
            beyond its border. If positions differ (after upsampling), the largest.
        stride: Pixels between the fields of neighboring positions; 0 if each sees everything. May
            be fractional after upsampling.
        start: First row and column of the field of position (0, 0); negative values lie in the
            padding.
        image_size: Height and width of the image.
        positions: Rows and columns of the layer; (1, 1) if it has none.
        whole: Name of the first layer that sees the whole image, such as global pooling or a layer
            of unknown type; empty if there is none. If set, `size` is the image size.
    """

    size: tuple[int, int]
    stride: tuple[float, float]
    start: tuple[int, int]
    image_size: tuple[int, int]
    positions: tuple[int, int]
    whole: str = ""
    _axes: tuple[Axis, ...] = field(default=(), repr=False, compare=False)

    def region(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Return the image pixels that a position sees.

        The region is exact: a position at the border reads the padding of several layers, and only
        those image pixels that reach it through existing positions.

        Args:
            row: Row of the position.
            column: Column of the position.

        Returns:
            The box (left, top, right, bottom), `"xyxy"` in Keras's terms, with right and bottom
            exclusive. It is (0, 0, 0, 0) for a position that sees only padding.

        Raises:
            IndexError: If the position does not exist.
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
        """Whether the field of a position extends beyond the border of the image.

        Args:
            row: Row of the position.
            column: Column of the position.
        """
        self._check(row, column)
        return any(
            axis.unclipped_range(at) != (axis.first[at], axis.last[at])
            for axis, at in zip(self._axes, (row, column), strict=False)
        )

    def _check(self, row: int, column: int) -> None:
        rows, columns = self.positions
        if not (0 <= row < rows and 0 <= column < columns):
            raise IndexError(
                f"(row, column) must be from (0, 0) to ({rows - 1}, {columns - 1}), the "
                f"positions of the layer. Received: ({row}, {column})"
            )


def receptive_field(
    model: keras.Model,
    layer: str | None = None,
    *,
    image_size: tuple[int, int] | None = None,
    image_input: int = 0,
) -> ReceptiveField:
    """Compute the receptive field of a layer: the image pixels that its positions see.

    Supported are convolutions (plain, depthwise, separable, transposed), pooling, padding,
    cropping, upsampling, pointwise layers, sums and concatenations (the union), nested models and
    this package's blocks. A layer that mixes all positions, such as global pooling, Flatten or
    attention, sees the whole image. A layer of unknown type is conservatively assumed to do so too,
    and `whole` names it.

    Args:
        model: A functional or Sequential model.
        layer: Name of the layer, with or without the names of the nested models around it. None
            selects the feature maps that `grad_cam` uses: the coarsest ones or, if several have
            that size, the last of them.
        image_size: Height and width of the image, for a model with an open image size; `"same"`
            padding depends on it.
        image_input: Index of the image among the model's inputs, for models with several.

    Returns:
        A `ReceptiveField`: size, stride and start, and `region(row, column)`.

    Raises:
        TypeError: If `model` is not a Keras model or `layer` is not a string.
        ValueError: If the layer does not exist, or the image size is unknown.

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
    """Return the last call of a layer that sees the image, even if the layer has no positions.

    Args:
        network: The model.
        layer: Name of the layer; see `receptive_field`.
        image_input: Index of the image among the model's inputs.

    Raises:
        TypeError: If the name is not a string.
        ValueError: If the layer does not exist; the message suggests the closest names.
    """
    count = len(network.model.inputs)
    image_input = check_integer("image_input", image_input, 0, count - 1)
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
    """Return height and width of a model's images: the model's own, or `image_size` if open.

    Raises:
        ValueError: If the input is not an image, or the size is unknown or contradicts the model.
    """
    shape: tuple[Any, ...] = tuple(model.inputs[image_input].shape)
    if len(shape) != 4:
        raise ValueError(
            f"input {image_input} of model {model.name!r} must be an image (height, width, "
            f"channels). Received: shape {shape[1:]}. Choose another input with image_input=."
        )
    fixed = shape[2:4] if is_channels_first() else shape[1:3]
    if image_size is None:
        if None in fixed:
            raise ValueError(
                f"model {model.name!r} takes images of any size. Set the size with "
                "image_size=(height, width)."
            )
        return int(fixed[0]), int(fixed[1])
    sizes = tuple(image_size)
    if len(sizes) != 2 or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise ValueError(
            f"image_size must be (height, width), two positive integers. Received: {image_size!r}"
        )
    if any(known not in (None, size) for known, size in zip(fixed, sizes, strict=True)):
        raise ValueError(f"image_size must be {fixed} for this model. Received: {image_size!r}")
    return sizes


def fields(
    network: Network, image_size: tuple[int, int], image_input: int = 0
) -> dict[Place, ReceptiveField]:
    """Return the receptive field of each layer that sees the image.

    Args:
        network: The model.
        image_size: Height and width of the image.
        image_input: Index of the image among the model's inputs.
    """
    seen = find_seen(network, image_size, image_input)
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
    """Return rows and columns of the output; an open size becomes a very large number."""
    shape = place.shape
    if len(shape) != 4:
        return 1, 1
    first = getattr(place.node.operation, "data_format", None) == "channels_first"
    rows, columns = shape[2:4] if first else shape[1:3]
    return rows or 1 << 30, columns or 1 << 30
