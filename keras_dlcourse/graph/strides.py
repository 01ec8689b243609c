"""Remove the strides of a network, so that it computes its scores at every pixel."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NoReturn

import keras

from keras_dlcourse import layers
from keras_dlcourse.graph.flat import Graph, Node, flat_copy, open_block, open_input
from keras_dlcourse.graph.seeing import is_pointwise
from keras_dlcourse.layers._remade import own_weights, remake_layer

Pair = tuple[int, int]
_POOLINGS = {keras.layers.MaxPooling2D: "maximum", keras.layers.AveragePooling2D: "average"}


def remove_strides(model: keras.Model) -> keras.Model:
    """Return a network that computes its scores at every pixel, by the a-trous algorithm.

    All strides of convolutions and poolings become 1. Kernels and windows behind a stride are
    dilated by it, so that each weight still meets the values that it was trained for. Weights are
    copied from the model. The result is that of `kd.graph.shift_and_stitch`, computed at once:
    position `(y, x)` is the model's output for the window of the image that starts at `(y, x)`, and
    position `(y * s, x * s)` is position `(y, x)` of the model; `s` is the product of its strides.

    This is exact if no layer pads (all "valid"). With "same" padding and `ZeroPadding2D`, it holds
    only where the receptive field lies inside the image. Elsewhere, the zeros around coarse maps
    are at other places: shifting the image also shifts its border. In a deep network with "same"
    padding, whose receptive field is as large as the image, that concerns all positions. The
    amount of padding is that for images whose sizes are multiples of `s`; for others, Keras pads
    some strided layers on other sides.

    Args:
        model: A built functional or Sequential model from one image to maps of scores `(batch,
            rows, columns, classes)`, such as that of `kd.graph.dense_as_conv`; not modified. Nested
            models and composite layers are opened.

    Returns:
        A flat functional model with its own weights, from images `(batch, None, None, channels)` to
        `(batch, height - size + 1, width - size + 1, classes)` without padding, where `size` is
        that of the receptive field. Layers keep their names.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If `model` is subclassed or unbuilt, does not map an image to maps, has channels
            first, or has a layer that enlarges maps, sees the whole image, or is unknown; the
            message names the layer.

    Example:
        >>> from keras_dlcourse.graph import dense_as_conv
        >>> from keras_dlcourse.models import LeNet5
        >>> slides = dense_as_conv(LeNet5((32, 32, 1)))  # one position every 4 pixels
        >>> dense = remove_strides(slides)
        >>> slides.compute_output_shape((1, 40, 40, 1)), dense.compute_output_shape((1, 40, 40, 1))
        ((1, 3, 3, 10), (1, 9, 9, 10))
        >>> dense.get_layer("conv2").dilation_rate, dense.get_layer("conv3").dilation_rate
        ((2, 2), (4, 4))

    Reference:
        Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR
        2015, section 3.2, https://arxiv.org/abs/1411.4038; Chen et al., "DeepLab", 2016, section
        3.1, https://arxiv.org/abs/1606.00915
    """
    graph = Graph(flat_copy(model, open_block))
    check_maps("remove_strides", graph.model)
    return graph.rebuild(_Conversion().call, new_input=open_input)


def check_maps(function: str, model: keras.Model) -> None:
    """Raise ValueError unless a functional model maps one image to maps."""
    shapes = [tuple(tensor.shape[1:]) for tensor in (*model.inputs, *model.outputs)]
    if len(shapes) != 2 or any(len(shape) != 3 for shape in shapes):
        raise ValueError(
            f"{function}: model {model.name!r} must map one image (height, width, channels) to "
            f"maps (rows, columns, classes). Received: {' and '.join(map(str, shapes))}. Convert "
            "the dense layers of a classifier with kd.graph.dense_as_conv(model)."
        )


class _Conversion:
    """The calls of a model, repeated without strides."""

    def __init__(self) -> None:
        self._strides: dict[int, Pair] = {}  # product of the strides before each tensor
        self._made: dict[int, dict[Pair, Any]] = {}  # by layer: a shared one stays shared

    def call(self, node: Node, args: Any, kwargs: Any) -> Any:
        """Call the replacement of a node."""
        strides = {self._strides.get(id(tensor), (1, 1)) for tensor in node.inputs}
        if len(strides) > 1:
            _refuse(node, f"joins maps of different strides, {sorted(strides)}")
        behind = strides.pop() if strides else (1, 1)
        layer = node.operation
        if getattr(layer, "data_format", None) == "channels_first":
            _refuse(node, "has channels first: build the model with channels last")
        made = self._made.setdefault(id(layer), {})
        if behind not in made:
            made[behind] = self._replace(node, behind)
        if len(set(map(id, made.values()))) > 1:  # its weights would no longer be shared
            _refuse(node, f"is called on maps of different strides, {sorted(made)}")
        own = _pair(getattr(layer, "strides", 1))
        after = behind[0] * own[0], behind[1] * own[1]
        self._strides.update({id(tensor): after for tensor in node.outputs})
        try:
            return made[behind](*args, **kwargs)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"remove_strides: layer {node.name!r} ({type(layer).__name__}) does not accept "
                f"maps of another size. Keras reported: {error}"
            ) from error

    def _replace(self, node: Node, behind: Pair) -> Callable[..., Any]:
        layer = node.operation
        for kind, replace in _RULES.items():
            if type(layer) is kind:
                return replace(layer, behind)
        local = is_pointwise(layer)
        if local and _has_position_weights(layer):
            _refuse(node, "has weights of its own for each position")
        if behind == (1, 1):  # what follows no stride may keep its window
            local = local or isinstance(layer, _WINDOWS)
        if not local:
            _refuse(node, "cannot be dilated")
        return layer


def _has_position_weights(layer: Any) -> bool:
    """Whether weights `(rows, columns, channels)` are for maps of one size, as those of PReLU."""
    weights = getattr(layer, "weights", ())
    return any(len(weight.shape) == 3 and math.prod(weight.shape[:2]) > 1 for weight in weights)


_WINDOWS = (layers.SparseConnectedConv2D, layers.LocalFilter2D, layers.RankFilter2D)


def _dilate(layer: Any, behind: Pair) -> Callable[..., Any]:
    """Return a convolution without strides, dilated by those before it."""
    margins = _margins(layer.padding, layer.kernel_size, layer.strides, layer.dilation_rate, behind)
    symmetric = all(before == after for before, after in margins)
    steps = zip(_pair(layer.dilation_rate), behind, strict=True)
    dilated = remake_layer(
        layer,
        strides=(1, 1),
        dilation_rate=tuple(one * other for one, other in steps),
        padding=layer.padding if symmetric else "valid",
    )
    dilated.build((None, None, None, layer.input_spec.axes[-1]))
    for new, old in zip(own_weights(dilated), own_weights(layer), strict=True):
        new.assign(old)
    if symmetric:
        return dilated
    pad = keras.layers.ZeroPadding2D(margins, "channels_last", name=f"{layer.name}_margins")
    return lambda x, **kwargs: dilated(pad(x), **kwargs)


def _pool(layer: Any, behind: Pair) -> Any:
    """Return a pooling at every position."""
    margins = _margins(layer.padding, layer.pool_size, layer.strides, (1, 1), behind)
    if behind == (1, 1) and all(before == after for before, after in margins):
        return remake_layer(layer, strides=(1, 1))
    return layers.DilatedPooling2D(
        _POOLINGS[type(layer)],
        layer.pool_size,
        behind,
        margins,
        name=layer.name,
        dtype=layer.dtype_policy,
    )


def _scale_border(name: str) -> Callable[[Any, Pair], Any]:
    """Return a rule that multiplies rows and columns that are added or cut off by the strides."""

    def replace(layer: Any, behind: Pair) -> Any:
        pairs = zip(getattr(layer, name), behind, strict=True)
        return remake_layer(layer, **{name: tuple((a * step, b * step) for (a, b), step in pairs)})

    return replace


_RULES: dict[type, Callable[[Any, Pair], Any]] = {
    keras.layers.Conv2D: _dilate,
    keras.layers.DepthwiseConv2D: _dilate,
    keras.layers.SeparableConv2D: _dilate,
    keras.layers.MaxPooling2D: _pool,
    keras.layers.AveragePooling2D: _pool,
    keras.layers.ZeroPadding2D: _scale_border("padding"),
    keras.layers.Cropping2D: _scale_border("cropping"),
}


def _margins(padding: str, kernel: Any, strides: Any, dilation: Any, behind: Pair) -> Any:
    """Return the padding before and after, in rows and in columns, of a layer without strides.

    It is such that the windows of the strided layer are among those of the new one, in their order.
    """
    margins = []
    for size, stride, step, factor in zip(
        *map(_pair, (kernel, strides, dilation)), behind, strict=True
    ):
        reach = (size - 1) * step
        before = max(reach + 1 - stride, 0) // 2  # as Keras does if the stride divides the size
        sides = (before, reach - before) if padding == "same" else (0, 0)
        margins.append((sides[0] * factor, sides[1] * factor))
    return tuple(margins)


def _pair(value: Any) -> Pair:
    first, second = value if isinstance(value, list | tuple) else (value, value)
    return int(first), int(second)


def _refuse(node: Node, reason: str) -> NoReturn:
    raise ValueError(
        f"remove_strides: layer {node.name!r} ({type(node.operation).__name__}) {reason}. "
        "Supported are convolutions, pooling, padding, cropping, and layers that compute each "
        "position by itself. Cut off others with keras.Model(model.inputs, a tensor before them)."
    )
