"""LeNet-5: alternating convolution and subsampling, then dense layers, for handwritten characters.

It was the first network of this kind that banks used, in 1998. In the paper, the third layer is
connected to only some of the maps before it, which breaks the symmetry and saves weights; the
subsampling layers have weights; and the outputs are distances to a fixed code of each class. The
modern form has none of the three.
"""

from __future__ import annotations

from typing import Annotated, Any, Unpack

import keras

from keras_dlcourse._checks import check_one_of
from keras_dlcourse.layers import ChannelScale, RadialBasisOutput, SparseConnectedConv2D
from keras_dlcourse.models._shared import parts
from keras_dlcourse.models._shared.arguments import Arguments, Options, Shape
from keras_dlcourse.models._shared.check_arguments import check_arguments, check_one_size
from keras_dlcourse.models.registry import register

MAPS, DENSE = (6, 16, 120), 84
SMALLEST = 32  # size that 5x5 kernels and two halvings reduce to one position
# Table I of the paper: the input maps of each map in the third layer.
CONNECTIONS = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5),
)  # fmt: skip
OUTPUTS = ("rbf", "softmax")


class LeNetPaperOptions(Options, total=False):
    """Options of the paper's LeNet-5, in addition to `Options`."""

    output: Annotated[
        str,
        '`"rbf"` for distances to fixed codes, `"softmax"` for a dense layer.',
    ]


@register("lenet5", classes=10)
def LeNet5(input_shape: Shape = (32, 32, 1), **options: Unpack[Options]) -> keras.Model:
    """Build LeNet-5 as taught today, with full connections, average pooling, tanh and softmax.

    The image size must be fixed, and `output_stride` has no effect.

    Args:
        input_shape: `(height, width, channels)`: at least 28x28 pixels, 1 or 3 channels. Images
            smaller than 32 pixels are zero-padded to 32, as in the paper for 28x28 digits.
        **options: See `Options`.

    Returns:
        A functional Keras model from images to probabilities `(batch, classes)`, or to features.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range or contradicts another.

    Example:
        >>> LeNet5().count_params()
        61706

    Reference:
        LeCun et al., "Gradient-Based Learning Applied to Document Recognition", Proceedings of the
        IEEE 1998 (99.05 % on MNIST, 99.2 % with distorted copies)
    """
    arguments, name = _check_options(input_shape, options)
    inputs, x = _start(arguments)
    for number, channels in enumerate(MAPS, 1):
        x = _convolution(x, channels, f"conv{number}", arguments, "tanh")
        if number < len(MAPS):
            x = keras.layers.AveragePooling2D(2, name=f"pool{number}")(x)
    return _end(inputs, x, arguments, name, lambda x: keras.layers.Activation("tanh", name="a6")(x))


@register("lenet5_paper", classes=10, output="rbf")
def LeNet5Paper(
    input_shape: Shape = (32, 32, 1), **options: Unpack[LeNetPaperOptions]
) -> keras.Model:
    """Build LeNet-5 as in the paper, with 60,000 trainable weights.

    The third layer uses the paper's table of connections, subsampling has a factor and an offset
    for each map, activations are 1.7159 tanh(2 x / 3), and scores are distances to fixed codes.
    `alpha` must be 1, because the table is for these widths. For the other arguments, see `LeNet5`.
    """
    given: dict[str, Any] = dict(options)
    output = given.pop("output")
    check_one_of("output", output, OUTPUTS)
    if given["alpha"] != 1.0:
        raise ValueError(
            "alpha must be 1, because the table of connections is for the paper's widths."
        )
    arguments, name = _check_options(input_shape, given)
    inputs, x = _start(arguments)
    x = _squash(_convolution(x, MAPS[0], "c1", arguments), "c1")
    x = _squash(_subsample(x, "s2"), "s2")
    x = _squash(SparseConnectedConv2D(CONNECTIONS, 5, name="c3")(x), "c3")
    x = _squash(_subsample(x, "s4"), "s4")
    x = _squash(_convolution(x, MAPS[2], "c5", arguments), "c5")
    return _end(inputs, x, arguments, name, lambda x: _squash(x, "f6"), has_codes=output == "rbf")


def _check_options(input_shape: Shape, options: Any) -> tuple[Arguments, str]:
    given: dict[str, Any] = dict(options)
    name = given.pop("name")
    arguments = check_arguments(None, input_shape=input_shape, **given)
    check_one_size(arguments, "LeNet-5")
    return arguments, name


def _start(arguments: Arguments) -> tuple[Any, Any]:
    inputs, x = parts.image_input(arguments)
    short = [max(0, SMALLEST - (size or SMALLEST)) for size in arguments.input_shape[:2]]
    if any(short):
        sides = tuple((size // 2, size - size // 2) for size in short)
        x = keras.layers.ZeroPadding2D(sides, name="pad")(x)
    return inputs, x


def _convolution(
    x: Any, channels: int, name: str, arguments: Arguments, activation: str | None = None
) -> Any:
    filters = parts.scale_channels(channels, arguments.alpha)
    return keras.layers.Conv2D(filters, 5, activation=activation, name=name)(x)


def _subsample(x: Any, name: str) -> Any:
    return ChannelScale(name=name)(keras.layers.AveragePooling2D(2, name=f"{name}_pool")(x))


def _squash(x: Any, name: str) -> Any:
    """Apply 1.7159 tanh(2 x / 3), which is 1 at 1 and -1 at -1, and steepest in between."""
    x = keras.layers.Rescaling(2 / 3, name=f"{name}_in")(x)
    x = keras.layers.Activation("tanh", name=f"{name}_tanh")(x)
    return keras.layers.Rescaling(1.7159, name=f"{name}_out")(x)


def _end(
    inputs: Any,
    x: Any,
    arguments: Arguments,
    name: str,
    squashed: Any,
    has_codes: bool = False,
) -> keras.Model:
    if not arguments.include_top:
        x = parts.global_pooling(x, arguments.pooling)
        return parts.finish_model(inputs, x, arguments, None, name)
    x = keras.layers.Flatten(name="flatten")(x)
    x = squashed(keras.layers.Dense(parts.scale_channels(DENSE, arguments.alpha), name="f6")(x))
    x = parts.dropout(x, arguments)
    if not has_codes:
        return parts.finish_model(inputs, parts.predictions(x, arguments), arguments, None, name)
    x = RadialBasisOutput(arguments.classes, name="codes")(x)
    x = parts.activate(x, arguments)
    return parts.finish_model(inputs, x, arguments, None, name)
