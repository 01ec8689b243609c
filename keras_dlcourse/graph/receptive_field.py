"""The pixels that each position of each layer of a network sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import layers, tree

from keras_dlcourse import layers as our_layers
from keras_dlcourse.graph.positions import (
    Axis,
    Taps,
    interpolated,
    repeated,
    shifted,
    sliding,
    transposed,
)
from keras_dlcourse.graph.running import Network, Place


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


@dataclass(frozen=True, eq=False)
class _Seen:
    """What a tensor sees of the image: two axes, everything (and since which layer), or nothing."""

    axes: tuple[Axis, ...] = ()
    whole: str = ""

    @property
    def nothing(self) -> bool:
        return not self.axes and not self.whole


def fields(
    network: Network, image_size: tuple[int, int], image_input: int = 0
) -> dict[Place, ReceptiveField]:
    """Return the field of each layer that sees the image.

    Args:
        network: The model.
        image_size: Height and width of the image.
        image_input: Number of the model's input that is the image.
    """
    found: dict[Place, ReceptiveField] = {}

    def after(place: Place, outputs: Any) -> Any:
        seen = tree.flatten(outputs)[0]
        if not seen.nothing:
            found[place] = _public(seen, place, image_size)
        return outputs

    inputs = [_Seen()] * len(network.model.inputs)
    inputs[image_input] = _Seen(tuple(Axis.of_image(size) for size in image_size))
    network.run(inputs, _call, after)
    return found


def _call(place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[_Seen]:
    """Return what the outputs of a layer see, in place of computing them."""
    given = [value for value in tree.flatten((args, kwargs)) if isinstance(value, _Seen)]
    given = [seen for seen in given if not seen.nothing]
    return [_seen(place, given)] * len(place.node.outputs)


def _seen(place: Place, given: list[_Seen]) -> _Seen:
    if not given:
        return _Seen()
    whole = next((seen.whole for seen in given if seen.whole), "")
    if whole:
        return _Seen(whole=whole)
    layer = place.node.operation
    if isinstance(layer, our_layers.DepthwiseSeparableConv2D | our_layers.InvertedResidual):
        return _seen_by_block(layer, place, given)
    for kinds, taps in _TAPS:
        if isinstance(layer, kinds):
            made = [taps(layer, number, axis.count) for number, axis in enumerate(given[0].axes)]
            if None in made:
                break
            axes = zip(given[0].axes, made, strict=True)
            return _Seen(tuple(axis.through(*tap) for axis, tap in axes))  # type: ignore[misc]
    if _is_pointwise(layer):
        joined = _union(given)
        if joined is not None:
            return joined
    return _Seen(whole=place.name)


def _seen_by_block(layer: Any, place: Place, given: list[_Seen]) -> _Seen:
    """Look into a copy of a composite layer: its weights do not matter here."""
    twin = type(layer).from_config(layer.get_config())
    inputs = keras.Input(batch_shape=place.node.inputs[0].shape)
    twin.build(inputs.shape)
    inside = Network(keras.Model(inputs, twin.call(inputs)))
    seen = inside.run(given, _call)
    return seen if isinstance(seen, _Seen) else _Seen(whole=place.name)


def _union(given: list[_Seen]) -> _Seen | None:
    axes = given[0].axes
    for seen in given[1:]:
        joined = [one.union(other) for one, other in zip(axes, seen.axes, strict=True)]
        if None in joined:
            return None
        axes = tuple(joined)  # type: ignore[arg-type]
    return _Seen(axes)


def _public(seen: _Seen, place: Place, image_size: tuple[int, int]) -> ReceptiveField:
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


def _convolution(layer: Any, number: int, count: int) -> tuple[Taps, int]:
    return sliding(
        count,
        layer.kernel_size[number],
        layer.strides[number],
        layer.dilation_rate[number],
        layer.padding,
    )


def _pooling(layer: Any, number: int, count: int) -> tuple[Taps, int]:
    return sliding(count, layer.pool_size[number], layer.strides[number], 1, layer.padding)


def _transposed(layer: Any, number: int, count: int) -> tuple[Taps, int] | None:
    if layer.output_padding is not None or set(layer.dilation_rate) != {1}:
        return None
    return transposed(count, layer.kernel_size[number], layer.strides[number], layer.padding)


def _padding(layer: Any, number: int, count: int) -> tuple[Taps, int]:
    return shifted(count, *layer.padding[number])


def _cropping(layer: Any, number: int, count: int) -> tuple[Taps, int]:
    before, behind = layer.cropping[number]
    return shifted(count, -before, -behind)


def _upsampling(layer: Any, number: int, count: int) -> tuple[Taps, int] | None:
    kinds = {"nearest": repeated, "bilinear": interpolated}
    kind = kinds.get(layer.interpolation)
    return None if kind is None else kind(count, layer.size[number])


# From a layer, the number of the axis and its positions to the taps along it; None: not known.
_Rule = Callable[[Any, int, int], tuple[Taps, int] | None]
_TAPS: tuple[tuple[tuple[type, ...], _Rule], ...] = (
    ((layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D), _convolution),
    ((layers.MaxPooling2D, layers.AveragePooling2D), _pooling),
    ((layers.Conv2DTranspose,), _transposed),
    ((layers.ZeroPadding2D,), _padding),
    ((layers.Cropping2D,), _cropping),
    ((layers.UpSampling2D,), _upsampling),
)

# Each position of what comes out sees the same position of what goes in. At inference, that is:
# batch normalization has fixed statistics and random changes do nothing.
_POINTWISE: tuple[type, ...] = (
    layers.Activation,
    layers.ActivityRegularization,
    layers.AlphaDropout,
    layers.BatchNormalization,
    layers.Dense,
    layers.Dropout,
    layers.ELU,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.Identity,
    layers.LeakyReLU,
    layers.Masking,
    layers.Normalization,
    layers.PReLU,
    layers.ReLU,
    layers.Rescaling,
    layers.SpatialDropout2D,
    layers.Add,
    layers.Average,
    layers.Maximum,
    layers.Minimum,
    layers.Multiply,
    layers.Subtract,
    our_layers.ChannelScale,
    our_layers.FakeQuantize,
    our_layers.FloatBarrier,
    our_layers.ImageDescription,
    our_layers.L2Normalization,
)
# These too if they work along the channels.
_ALONG_AN_AXIS: Any = (
    layers.Concatenate,
    layers.LayerNormalization,
    layers.Softmax,
    layers.UnitNormalization,
)
# Operations of keras.ops, and layers of keras.applications that have no public name.
# fmt: off
_NAMES = frozenset({
    "Absolute", "Add", "Cast", "Clip", "Divide", "Elu", "Exp", "Gelu", "HardSigmoid",
    "HardSilu", "Identity", "LayerScale", "LeakyRelu", "Log", "Maximum", "Minimum", "Multiply",
    "Negative", "Power", "Relu", "Relu6", "Rsqrt", "Selu", "Sigmoid", "Silu", "Softplus",
    "Softsign", "Sqrt", "Square", "StochasticDepth", "Subtract", "Tanh", "TrueDivide",
})
# fmt: on


def _is_pointwise(operation: Any) -> bool:
    if isinstance(operation, _ALONG_AN_AXIS):
        axes = operation.axis if isinstance(operation.axis, list | tuple) else [operation.axis]
        return all(axis in (-1, 3) for axis in axes)
    if type(operation).__module__.startswith("keras.") and type(operation).__name__ in _NAMES:
        return True
    return isinstance(operation, _POINTWISE)
