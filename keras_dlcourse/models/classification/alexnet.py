"""AlexNet: five convolutions and three dense layers, the network that began it all in 2012.

ReLU in place of tanh, dropout, overlapping pooling and two graphics cards made a network of this
size train. The two halves that lay on a card each are groups of its convolutions here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import keras

from keras_dlcourse.layers import LocalResponseNormalization
from keras_dlcourse.models._shared import parts as _graph
from keras_dlcourse.models._shared.arguments import Arguments, Options, Shape
from keras_dlcourse.models._shared.check_arguments import check_arguments, check_one_size
from keras_dlcourse.models.registry import register

DENSE, DROPOUT = 4096, 0.5
NORMALIZATIONS = ("local", "batch", None)


@dataclass(frozen=True)
class Convolution:
    """A convolution, and what stands behind it.

    Attributes:
        filters: Its channels.
        kernel_size: Height and width of its kernels.
        strides: Its step.
        groups: Groups of channels, in the paper's form.
        is_normalized: Whether it is normalized.
        is_pooled: Whether 3x3 maxima in steps of 2 follow.
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
    """Options of AlexNet besides those of all builders.

    Attributes:
        grouped: Whether the second, fourth and fifth convolution keep two halves apart, as in the
            paper.
        normalization: `"local"`: local response normalization behind the first two convolutions, as
            in the paper, which stays in float in an int8 file. `"batch"`: batch normalization
            behind all, all in integers. None: none.
    """

    grouped: bool
    normalization: str | None


@register("alexnet")
def AlexNet(input_shape: Shape = (227, 227, 3), **options: Unpack[AlexNetOptions]) -> keras.Model:
    """Build AlexNet, 59.3 % on ImageNet (62.5 % with five of them, `kd.models.ensemble`).

    The paper says images of 224, and its sizes hold for 227.

    Args:
        input_shape: `(height, width, channels)`: at least 28x28 pixels, 1 or 3 channels.
        **options: See `AlexNetOptions` and `Options`; `dropout` is 0.5 by default, before each
            dense layer but the last.

    Returns:
        A functional Keras model from images to probabilities `(batch, classes)`, or to features.

    Raises:
        TypeError: If an argument is of a wrong kind.
        ValueError: If an argument is out of its range or contradicts another.

    Example:
        >>> AlexNet((32, 32, 3), alpha=0.25, classes=10).output_shape
        (None, 10)

    Reference:
        Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural
        Networks", NIPS 2012
    """
    given: dict[str, Any] = {"dropout": DROPOUT, "name": "alexnet", **options}
    name, grouped = given.pop("name"), bool(given.pop("grouped", True))
    normalization = given.pop("normalization", "local")
    if normalization not in NORMALIZATIONS:
        raise ValueError(
            f"normalization must be 'local', 'batch' or None. Received: {normalization!r}"
        )
    arguments = check_arguments(None, input_shape=input_shape, **given)
    check_one_size(arguments, "AlexNet")
    inputs, x = _graph.image_input(arguments)
    natural = [step for row in CONVOLUTIONS for step in (row.strides, 2 if row.is_pooled else 1)]
    strides = _graph.limited_strides(natural, arguments.output_stride)
    _graph.check_enough_left(arguments, _windows(strides))
    for number, row in enumerate(CONVOLUTIONS):
        step, pool = strides[2 * number : 2 * number + 2]
        x = _convolution(x, row, step, grouped, f"conv{number + 1}", arguments)
        x = _normalized(x, row, normalization, f"conv{number + 1}", arguments)
        if pool > 1:
            x = keras.layers.MaxPooling2D(3, pool, name=f"pool{number + 1}")(x)
    if not arguments.include_top:
        x = _graph.global_pooling(x, arguments.pooling)
        return _graph.finished(inputs, x, arguments, None, name)
    x = keras.layers.Flatten(name="flatten")(x)
    for dense in ("fc6", "fc7"):
        if arguments.dropout:
            x = keras.layers.Dropout(arguments.dropout, name=f"{dense}_dropout")(x)
        units = _graph.scaled(DENSE, arguments.alpha)
        x = keras.layers.Dense(units, "relu", kernel_initializer="he_normal", name=dense)(x)
    return _graph.finished(inputs, _graph.predictions(x, arguments), arguments, None, name)


def _windows(strides: Sequence[int]) -> list[tuple[int, int]]:
    """Return size and stride of the first convolution and the poolings, which have no padding."""
    kernels = [(CONVOLUTIONS[0].kernel_size, strides[0])]
    return kernels + [(3, pool) for pool in strides[1::2] if pool > 1]


def _convolution(
    x: Any, row: Convolution, strides: int, grouped: bool, name: str, arguments: Arguments
) -> Any:
    x = keras.layers.Conv2D(
        _graph.scaled(row.filters, arguments.alpha, 2),
        row.kernel_size,
        strides,
        padding="valid" if row.strides > 1 else "same",
        groups=row.groups if grouped else 1,
        kernel_initializer="he_normal",
        name=name,
    )(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _normalized(
    x: Any, row: Convolution, normalization: str | None, name: str, arguments: Arguments
) -> Any:
    if normalization == "batch":
        return keras.layers.BatchNormalization(
            momentum=arguments.bn_momentum, epsilon=1e-5, name=f"{name}_bn"
        )(x)
    if normalization == "local" and row.is_normalized:
        return LocalResponseNormalization(name=f"{name}_norm")(x)
    return x
