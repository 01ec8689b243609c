"""What the outputs of each layer see of the image, by rules per layer type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers, tree

from keras_dlcourse import layers as our_layers
from keras_dlcourse.graph.positions import (
    Axis,
    Taps,
    interpolate_taps,
    repeat_taps,
    shift_taps,
    slide_taps,
    transpose_taps,
)
from keras_dlcourse.graph.running import Network, Place
from keras_dlcourse.graph.weightless import weightless
from keras_dlcourse.layers.blocks._composite import CompositeLayer
from keras_dlcourse.layers.filtering._windows import margins


@dataclass(frozen=True, eq=False)
class Seen:
    """What a tensor sees of the image: two axes, everything (from layer `whole` on), or nothing."""

    axes: tuple[Axis, ...] = ()
    whole: str = ""

    @property
    def nothing(self) -> bool:
        """Whether it sees nothing of the image."""
        return not self.axes and not self.whole


def find_seen(
    network: Network, image_size: tuple[int, int], image_input: int = 0
) -> dict[Place, Seen]:
    """Return what the first output of each layer sees, for all layers that see the image.

    Args:
        network: The model.
        image_size: Height and width of the image.
        image_input: Index of the image among the model's inputs.
    """
    found: dict[Place, Seen] = {}

    def after(place: Place, outputs: Any) -> Any:
        seen = tree.flatten(outputs)[0]
        if not seen.nothing:
            found[place] = seen
        return outputs

    inputs = [Seen()] * len(network.model.inputs)
    inputs[image_input] = Seen(tuple(Axis.of_image(size) for size in image_size))
    network.run(inputs, _call, after)
    return found


def is_channels_first() -> bool:
    """Whether Keras is configured for channels before rows and columns."""
    return bool(keras.config.image_data_format() == "channels_first")


def _call(place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Seen]:
    """Return what the outputs of a layer see, instead of computing them."""
    given = [value for value in tree.flatten((args, kwargs)) if isinstance(value, Seen)]
    given = [seen for seen in given if not seen.nothing]
    return [_look_through_layer(place, given)] * len(place.node.outputs)


def _look_through_layer(place: Place, given: list[Seen]) -> Seen:
    if not given:
        return Seen()
    whole = next((seen.whole for seen in given if seen.whole), "")
    if whole:
        return Seen(whole=whole)
    layer = place.node.operation
    if isinstance(layer, CompositeLayer):
        return _look_through_block(layer, place, given)
    for kinds, taps in _TAPS:
        if isinstance(layer, kinds):
            made = [taps(layer, number, axis.count) for number, axis in enumerate(given[0].axes)]
            if None in made:
                break
            _check_counts(place, given[0], [count for _, count in made])  # type: ignore[misc]
            axes = zip(given[0].axes, made, strict=True)
            return Seen(tuple(axis.follow(*tap) for axis, tap in axes))  # type: ignore[misc]
    if is_pointwise(layer):
        joined = _union(given)
        if joined is not None:
            return joined
    return Seen(whole=place.name)


def _check_counts(place: Place, seen: Seen, counts: list[int]) -> None:
    if min(counts) < 1:
        rows, columns = (axis.count for axis in seen.axes)
        height, width = (axis.pixels for axis in seen.axes)
        raise ValueError(
            f"The image must be large enough for layer {place.name!r}, whose window is larger than "
            f"the {rows}x{columns} maps before it. Received: an image of {height}x{width} pixels. "
            "Use a larger one."
        )


def _look_through_block(layer: Any, place: Place, given: list[Seen]) -> Seen:
    """Look into a copy of a composite layer, without weights, which do not matter here."""
    with weightless():
        twin = type(layer).from_config(layer.get_config())
        inputs = keras.Input(batch_shape=place.node.inputs[0].shape)
        twin.build(inputs.shape)
        inside = Network(keras.Model(inputs, twin.call(inputs)))
    seen = inside.run(given, _call)
    return seen if isinstance(seen, Seen) else Seen(whole=place.name)


def _union(given: list[Seen]) -> Seen | None:
    axes = given[0].axes
    for seen in given[1:]:
        joined = [one.union(other) for one, other in zip(axes, seen.axes, strict=True)]
        if None in joined:
            return None
        axes = tuple(joined)  # type: ignore[arg-type]
    return Seen(axes)


def _convolution(layer: Any, number: int, count: int) -> tuple[Taps, int]:
    return slide_taps(
        count,
        layer.kernel_size[number],
        layer.strides[number],
        layer.dilation_rate[number],
        layer.padding,
    )


def _sparse_convolution(layer: Any, number: int, count: int) -> tuple[Taps, int]:
    return slide_taps(count, layer.kernel_size, padding=layer.padding)


def _filter(layer: Any, number: int, count: int) -> tuple[Taps, int]:
    """Taps of a local filter; the center of an even window is the second of its middle two."""
    size = layer.window[number]
    before, behind = margins(size) if layer.padding == "same" else (0, 0)
    if getattr(layer, "flip", False):
        before, behind = behind, before
    taps, windows = slide_taps(count + before + behind, size)
    return Taps(tuple(tuple(t - before for t in row) for row in taps.places), 1), windows


def _pooling(layer: Any, number: int, count: int) -> tuple[Taps, int]:
    return slide_taps(count, layer.pool_size[number], layer.strides[number], 1, layer.padding)


def _dilated_pooling(layer: Any, number: int, count: int) -> tuple[Taps, int]:
    before, behind = layer.padding[number]
    pool, dilation = layer.pool_size[number], layer.dilation_rate[number]
    taps, windows = slide_taps(count + before + behind, pool, dilation=dilation)
    return Taps(tuple(tuple(t - before for t in row) for row in taps.places), 1), windows


def _transposed_convolution(layer: Any, number: int, count: int) -> tuple[Taps, int] | None:
    if layer.output_padding is not None or set(layer.dilation_rate) != {1}:
        return None
    return transpose_taps(count, layer.kernel_size[number], layer.strides[number], layer.padding)


def _padding(layer: Any, number: int, count: int) -> tuple[Taps, int]:
    """Taps of padding; with channels first, a layer pads columns and channels of other maps."""
    number -= (layer.data_format == "channels_first") - (is_channels_first())
    return shift_taps(count, *(layer.padding[number] if 0 <= number < 2 else (0, 0)))


def _cropping(layer: Any, number: int, count: int) -> tuple[Taps, int]:
    before, behind = layer.cropping[number]
    return shift_taps(count, -before, -behind)


def _upsampling(layer: Any, number: int, count: int) -> tuple[Taps, int] | None:
    kinds = {"nearest": repeat_taps, "bilinear": interpolate_taps}
    kind = kinds.get(layer.interpolation)
    return None if kind is None else kind(count, layer.size[number])


# Maps a layer, an axis and its number of positions to the taps along it; None if unknown.
_Rule = Callable[[Any, int, int], tuple[Taps, int] | None]
_TAPS: tuple[tuple[tuple[type, ...], _Rule], ...] = (
    ((layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D), _convolution),
    ((our_layers.SparseConnectedConv2D,), _sparse_convolution),
    ((our_layers.LocalFilter2D, our_layers.RankFilter2D), _filter),
    ((layers.MaxPooling2D, layers.AveragePooling2D), _pooling),
    ((our_layers.DilatedPooling2D,), _dilated_pooling),
    ((layers.Conv2DTranspose,), _transposed_convolution),
    ((layers.ZeroPadding2D,), _padding),
    ((layers.Cropping2D,), _cropping),
    ((layers.UpSampling2D,), _upsampling),
)

# Each output position sees the same input position. This holds at inference, where batch
# normalization has fixed statistics and random layers do nothing.
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
    our_layers.RangeBridge,
    our_layers.ImageDescription,
    our_layers.L2Normalization,
    our_layers.LocalResponseNormalization,
    our_layers.RadialBasisOutput,
)
# These as well, if they work along the channels.
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


def is_pointwise(operation: Any) -> bool:
    """Whether each output position depends only on the same input position."""
    if isinstance(operation, _ALONG_AN_AXIS):
        axes = operation.axis if isinstance(operation.axis, list | tuple) else [operation.axis]
        return all(axis in (-1, 3) for axis in axes)
    if type(operation).__module__.startswith("keras.") and type(operation).__name__ in _NAMES:
        return True
    return isinstance(operation, _POINTWISE)
