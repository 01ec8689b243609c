"""AlexNet: five convolutions and three dense layers; it started modern deep learning in 2012.

ReLU instead of tanh, dropout, overlapping pooling and two GPUs made it possible to train a network
of this size. The two halves, one per GPU in the paper, are groups of the convolutions here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Unpack

import keras

from keras_dlcourse._checks import check_one_of
from keras_dlcourse.layers import LocalResponseNormalization
from keras_dlcourse.models._shared import parts
from keras_dlcourse.models._shared.arguments import Arguments, Options, Shape
from keras_dlcourse.models._shared.check_arguments import check_arguments, check_one_size
from keras_dlcourse.models.registry import register

DENSE, DROPOUT = 4096, 0.5
NORMALIZATIONS = ("local", "batch", None)


@dataclass(frozen=True)
class Convolution:
    """A convolution, and the layers after it.

    Attributes:
        filters: Number of output channels.
        kernel_size: Height and width of the kernels.
        strides: Stride of the convolution.
        groups: Groups of channels, as in the paper.
        is_normalized: Whether local response normalization follows, as in the paper.
        is_pooled: Whether 3x3 max pooling with stride 2 follows.
    """

    filters: int
    kernel_size: int
    strides: int = 1
    groups: int = 1
    is_normalized: bool = False
    is_pooled: bool = False


CONVOLUTIONS = (
    Convolution(96, 11, strides=4, is_normalized=True, is_pooled=True),
    Convolution(256, 5, groups=2, is_normalized=True, is_pooled=True),
    Convolution(384, 3),
    Convolution(384, 3, groups=2),
    Convolution(256, 3, groups=2, is_pooled=True),
)


class AlexNetOptions(Options, total=False):
    """Options of AlexNet, in addition to `Options`."""

    grouped: Annotated[
        bool,
        "Whether the second, fourth and fifth convolutions have two groups of channels, as "
        "in the paper.",
    ]
    normalization: Annotated[
        str | None,
        '`"local"` adds local response normalization after the first two convolutions, as '
        'in the paper; it stays in float in an int8 file. `"batch"` adds batch '
        "normalization after all convolutions, entirely in integers. None adds no "
        "normalization.",
    ]


@register("alexnet", dropout=DROPOUT, grouped=True, normalization="local")
def AlexNet(input_shape: Shape = (227, 227, 3), **options: Unpack[AlexNetOptions]) -> keras.Model:
    """Build AlexNet (59.3% accuracy on ImageNet, 62.5% for a `kd.models.ensemble` of five).

    The paper states an image size of 224, but its layer sizes require 227.
    Dropout precedes each dense layer except the last.

    Args:
        input_shape: `(height, width, channels)`: at least 28x28 pixels, 1 or 3 channels.
        **options: See `AlexNetOptions`.

    Returns:
        A functional Keras model from images to probabilities `(batch, classes)`, or to features.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range or contradicts another.

    Example:
        >>> AlexNet((32, 32, 3), alpha=0.25, classes=10).output_shape
        (None, 10)

    Reference:
        Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural
        Networks", NIPS 2012
    """
    given: dict[str, Any] = dict(options)
    name, grouped = given.pop("name"), bool(given.pop("grouped"))
    normalization = given.pop("normalization")
    check_one_of("normalization", normalization, NORMALIZATIONS)
    arguments = check_arguments(None, input_shape=input_shape, **given)
    check_one_size(arguments, "AlexNet")
    inputs, x = parts.image_input(arguments)
    natural = [step for row in CONVOLUTIONS for step in (row.strides, 2 if row.is_pooled else 1)]
    strides = parts.limit_strides(natural, arguments.output_stride)
    parts.check_enough_left(arguments, _windows(strides))
    for number, row in enumerate(CONVOLUTIONS):
        step, pool = strides[2 * number : 2 * number + 2]
        x = _convolution(x, row, step, grouped, f"conv{number + 1}", arguments)
        x = _normalize(x, row, normalization, f"conv{number + 1}", arguments)
        if pool > 1:
            x = keras.layers.MaxPooling2D(3, pool, name=f"pool{number + 1}")(x)
    if not arguments.include_top:
        x = parts.global_pooling(x, arguments.pooling)
        return parts.finish_model(inputs, x, arguments, None, name)
    x = keras.layers.Flatten(name="flatten")(x)
    for dense in ("fc6", "fc7"):
        if arguments.dropout:
            x = keras.layers.Dropout(arguments.dropout, name=f"{dense}_dropout")(x)
        units = parts.scale_channels(DENSE, arguments.alpha)
        x = keras.layers.Dense(units, "relu", kernel_initializer="he_normal", name=dense)(x)
    return parts.finish_model(inputs, parts.predictions(x, arguments), arguments, None, name)


def _windows(strides: Sequence[int]) -> list[tuple[int, int]]:
    """Return size and stride of the unpadded layers: the first convolution and the poolings."""
    kernels = [(CONVOLUTIONS[0].kernel_size, strides[0])]
    return kernels + [(3, pool) for pool in strides[1::2] if pool > 1]


def _convolution(
    x: Any, row: Convolution, strides: int, grouped: bool, name: str, arguments: Arguments
) -> Any:
    x = keras.layers.Conv2D(
        parts.scale_channels(row.filters, arguments.alpha, 2),
        row.kernel_size,
        strides,
        padding="valid" if row.strides > 1 else "same",
        groups=row.groups if grouped else 1,
        kernel_initializer="he_normal",
        name=name,
    )(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _normalize(
    x: Any, row: Convolution, normalization: str | None, name: str, arguments: Arguments
) -> Any:
    if normalization == "batch":
        return keras.layers.BatchNormalization(
            momentum=arguments.bn_momentum, epsilon=1e-5, name=f"{name}_bn"
        )(x)
    if normalization == "local" and row.is_normalized:
        return LocalResponseNormalization(name=f"{name}_norm")(x)
    return x
