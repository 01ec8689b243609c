"""Wide ResNet: fewer and wider residual blocks, which are as accurate and run faster.

Sixteen layers eight times as wide are as accurate as a thousand thin ones, and a GPU computes wide
layers in parallel but deep ones in sequence. The blocks are those of ResNet version 2, with
optional dropout between their convolutions.
"""

from __future__ import annotations

from typing import Annotated, Any, Unpack

import keras

from keras_dlcourse._checks import check_integer
from keras_dlcourse.models._shared.arguments import Shape
from keras_dlcourse.models._shared.show_options import show_options
from keras_dlcourse.models.classification.resnet import ResidualOptions, Variant, residual_network
from keras_dlcourse.models.registry import register

STEM, CHANNELS = 16, (16, 32, 64)


class WideResNetOptions(ResidualOptions, total=False):
    """Options of Wide ResNets, in addition to `ResidualOptions`."""

    block_dropout: Annotated[
        float,
        "Fraction of features dropped during training between a block's convolutions. The "
        "paper uses 0.3 if there is little data.",
    ]


DEFAULTS: dict[str, Any] = {
    "block_dropout": 0.0, "shortcut": "project", "zero_last_gamma": False, "classes": 10,
}  # fmt: skip


@show_options(name=None, **DEFAULTS)
def WideResNet(
    depth: int,
    width: int,
    input_shape: Shape = (32, 32, 3),
    **options: Unpack[WideResNetOptions],
) -> keras.Model:
    """Build a Wide ResNet of any depth and width.

    The last feature map is a quarter of the image size, regardless of `output_stride`.
    The default is 10 classes.

    Args:
        depth: Number of layers, `6 n + 4`.
        width: Width of the stages as a multiple of the thinnest network.
        input_shape: `(height, width, channels)`: at least 28x28 pixels (or None for any size), 1 or
            3 channels.
        **options: See `WideResNetOptions`.

    Returns:
        A functional Keras model from images to probabilities `(batch, classes)`, or to features.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If `depth` is not `6 n + 4`, or an argument is out of range.

    Example:
        >>> WideResNet(10, 2, classes=5).output_shape
        (None, 5)

    Reference:
        Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016,
        https://arxiv.org/abs/1605.07146
    """
    depth, width = check_integer("depth", depth), check_integer("width", width)
    if depth < 10 or (depth - 4) % 6:
        raise ValueError(
            f"depth must be 6 n + 4, such as 10, 16, 22, 28 or 40, for three stages of n blocks "
            f"with two convolutions each. Received: {depth}"
        )
    row = Variant(
        ((depth - 4) // 6,) * 3,
        channels=tuple(width * channels for channels in CHANNELS),
        is_small=True,
        stem=STEM,
        preactivation=True,
    )
    given: dict[str, Any] = dict(options)
    given["name"] = given["name"] or f"wide_resnet_{depth}_{width}"
    block = {"dropout": given.pop("block_dropout")}
    return residual_network(row, input_shape, given, block)


@register("wide_resnet_16_8", **DEFAULTS)
def WideResNet16x8(
    input_shape: Shape = (32, 32, 3), **options: Unpack[WideResNetOptions]
) -> keras.Model:
    """Build a Wide ResNet-16-8 (95.19% accuracy on CIFAR-10); see `WideResNet`."""
    return WideResNet(16, 8, input_shape, **options)


@register("wide_resnet_28_10", **DEFAULTS)
def WideResNet28x10(
    input_shape: Shape = (32, 32, 3), **options: Unpack[WideResNetOptions]
) -> keras.Model:
    """Build a Wide ResNet-28-10 (95.83% accuracy on CIFAR-10); see `WideResNet`."""
    return WideResNet(28, 10, input_shape, **options)


@register("wide_resnet_40_4", **DEFAULTS)
def WideResNet40x4(
    input_shape: Shape = (32, 32, 3), **options: Unpack[WideResNetOptions]
) -> keras.Model:
    """Build a Wide ResNet-40-4 (95.03% accuracy on CIFAR-10); see `WideResNet`."""
    return WideResNet(40, 4, input_shape, **options)
