"""Wide ResNet: fewer and wider residual blocks, which learn as much and run faster.

Sixteen layers eight times as wide are as accurate as a thousand thin ones, and a graphics card
computes wide layers in parallel where it must wait between deep ones. Blocks are those of ResNet's
version 2, with dropout between their convolutions as an option.
"""

from __future__ import annotations

from typing import Any, Unpack

import keras

from keras_dlcourse._checks import positive_int
from keras_dlcourse.models._shared.arguments import Shape
from keras_dlcourse.models.classification.resnet import ResidualOptions, Variant, residual_network
from keras_dlcourse.models.registry import register

STEM, CHANNELS = 16, (16, 32, 64)


class WideResNetOptions(ResidualOptions, total=False):
    """Options of Wide ResNets besides those.

    Attributes:
        block_dropout: Share of features dropped in training between a block's convolutions; the
            paper's 0.3 where data are few.
    """

    block_dropout: float


def WideResNet(
    depth: int,
    width: int,
    input_shape: Shape = (32, 32, 3),
    **options: Unpack[WideResNetOptions],
) -> keras.Model:
    """Build a Wide ResNet of any depth and width.

    Its last maps are a fourth of the image, whatever `output_stride`. 10 classes by default.

    Args:
        depth: Layers, `6 n + 4`.
        width: How many times as wide as the thinnest network its stages are.
        input_shape: `(height, width, channels)`: at least 28x28 pixels (or None for any size), 1 or
            3 channels.
        **options: See `WideResNetOptions`, `ResidualOptions` and `Options`.

    Returns:
        A functional Keras model from images to probabilities `(batch, classes)`, or to features.

    Raises:
        TypeError: If an argument is of a wrong kind.
        ValueError: If the depth is none of `6 n + 4`, or an argument is out of its range.

    Example:
        >>> WideResNet(10, 2, classes=5).output_shape
        (None, 5)

    Reference:
        Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016,
        https://arxiv.org/abs/1605.07146
    """
    depth, width = positive_int("depth", depth), positive_int("width", width)
    if depth < 10 or (depth - 4) % 6:
        raise ValueError(
            f"depth must be 6 n + 4, as 10, 16, 22, 28, 40: three stages of n blocks with two "
            f"convolutions each. Received: {depth}"
        )
    row = Variant(
        ((depth - 4) // 6,) * 3,
        channels=tuple(width * channels for channels in CHANNELS),
        is_small=True,
        stem=STEM,
        preactivation=True,
    )
    given: dict[str, Any] = {"name": f"wide_resnet_{depth}_{width}", **options}
    block = {"dropout": given.pop("block_dropout", 0.0)}
    return residual_network(row, input_shape, given, block)


@register("wide_resnet_16_8")
def WideResNet16x8(
    input_shape: Shape = (32, 32, 3), **options: Unpack[WideResNetOptions]
) -> keras.Model:
    """Build a Wide ResNet of 16 layers, 8 times as wide, 95.19 % on CIFAR-10; see `WideResNet`."""
    return WideResNet(16, 8, input_shape, **options)


@register("wide_resnet_28_10")
def WideResNet28x10(
    input_shape: Shape = (32, 32, 3), **options: Unpack[WideResNetOptions]
) -> keras.Model:
    """Build a Wide ResNet of 28 layers, 10 times as wide, 95.83 % on CIFAR-10; see `WideResNet`."""
    return WideResNet(28, 10, input_shape, **options)


@register("wide_resnet_40_4")
def WideResNet40x4(
    input_shape: Shape = (32, 32, 3), **options: Unpack[WideResNetOptions]
) -> keras.Model:
    """Build a Wide ResNet of 40 layers, 4 times as wide, 95.03 % on CIFAR-10; see `WideResNet`."""
    return WideResNet(40, 4, input_shape, **options)
