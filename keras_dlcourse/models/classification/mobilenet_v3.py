"""MobileNetV3: MobileNetV2 blocks arranged by architecture search, with squeeze-and-excitation.

A search over networks measured on a phone chose kernel sizes and widths; the stem and the head were
made cheaper by hand. About half of the blocks use squeeze-and-excitation, and deep blocks use hard
swish, which approximates swish without an exponential. The minimalistic variant omits
squeeze-and-excitation, hard swish and 5x5 kernels, for accelerators that do not support them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Unpack

import keras

from keras_dlcourse.layers import InvertedResidual
from keras_dlcourse.models._shared import parts
from keras_dlcourse.models._shared.arguments import Options, Shape
from keras_dlcourse.models._shared.check_arguments import check_arguments
from keras_dlcourse.models._shared.imagenet import ImageNetFiles
from keras_dlcourse.models.classification.mobilenet_v2 import round_channels
from keras_dlcourse.models.registry import register

DROPOUT = 0.2  # as in the paper
STEM_CHANNELS, EXCITE, LAST_EXPANSION = 16, 0.25, 6
RELU, SWISH = "relu", "hard_silu"  # Keras's name for hard swish


@dataclass(frozen=True)
class Block:
    """A row of the paper's Table 1 or 2.

    Attributes:
        kernel_size: Height and width of the depthwise kernel.
        expansion: Factor by which the block widens its input.
        channels: Output channels.
        excite: Whether the block has squeeze-and-excitation.
        activation: `"relu"` or hard swish.
        strides: Stride of the block.
    """

    kernel_size: int
    expansion: float
    channels: int
    excite: bool
    activation: str
    strides: int = 1


@dataclass(frozen=True)
class Variant:
    """Configuration of a network.

    Attributes:
        blocks: Blocks of the network.
        features: Channels before the classifier.
        official: Name in `keras.applications`.
    """

    blocks: tuple[Block, ...]
    features: int
    official: str


VARIANTS = {
    "mobilenet_v3_large": Variant(
        (
            Block(3, 1, 16, False, RELU),
            Block(3, 4, 24, False, RELU, strides=2),
            Block(3, 3, 24, False, RELU),
            Block(5, 3, 40, True, RELU, strides=2),
            Block(5, 3, 40, True, RELU),
            Block(5, 3, 40, True, RELU),
            Block(3, 6, 80, False, SWISH, strides=2),
            Block(3, 2.5, 80, False, SWISH),
            Block(3, 2.3, 80, False, SWISH),
            Block(3, 2.3, 80, False, SWISH),
            Block(3, 6, 112, True, SWISH),
            Block(3, 6, 112, True, SWISH),
            Block(5, 6, 160, True, SWISH, strides=2),
            Block(5, 6, 160, True, SWISH),
            Block(5, 6, 160, True, SWISH),
        ),
        1280,
        "MobileNetV3Large",
    ),
    "mobilenet_v3_small": Variant(
        (
            Block(3, 1, 16, True, RELU, strides=2),
            Block(3, 72 / 16, 24, False, RELU, strides=2),
            Block(3, 88 / 24, 24, False, RELU),
            Block(5, 4, 40, True, SWISH, strides=2),
            Block(5, 6, 40, True, SWISH),
            Block(5, 6, 40, True, SWISH),
            Block(5, 3, 48, True, SWISH),
            Block(5, 3, 48, True, SWISH),
            Block(5, 6, 96, True, SWISH, strides=2),
            Block(5, 6, 96, True, SWISH),
            Block(5, 6, 96, True, SWISH),
        ),
        1024,
        "MobileNetV3Small",
    ),
}


class MobileNetV3Options(Options, total=False):
    """Options of MobileNetV3, in addition to `Options`."""

    minimalistic: Annotated[
        bool,
        "Whether to omit squeeze-and-excitation, hard swish and 5x5 kernels.",
    ]


@register("mobilenet_v3_large", dropout=DROPOUT, minimalistic=False)
def MobileNetV3Large(
    input_shape: Shape = (224, 224, 3), **options: Unpack[MobileNetV3Options]
) -> keras.Model:
    """Build a MobileNetV3-Large (75.2% accuracy on ImageNet, 72.3% if minimalistic).

    Args:
        input_shape: `(height, width, channels)`: at least 28x28 pixels (or None for any size), 1 or
            3 channels.
        **options: See `MobileNetV3Options`.

    Returns:
        A functional Keras model from images to probabilities `(batch, classes)`, or to features.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range or contradicts another.
        OSError: If official weights are requested and cannot be downloaded.

    Example:
        >>> MobileNetV3Large((32, 32, 3), alpha=0.35, classes=10).output_shape
        (None, 10)

    Reference:
        Howard et al., "Searching for MobileNetV3", ICCV 2019, https://arxiv.org/abs/1905.02244
    """
    return _build("mobilenet_v3_large", input_shape, options)


@register("mobilenet_v3_small", dropout=DROPOUT, minimalistic=False)
def MobileNetV3Small(
    input_shape: Shape = (224, 224, 3), **options: Unpack[MobileNetV3Options]
) -> keras.Model:
    """Build a MobileNetV3-Small (67.4% accuracy on ImageNet, 61.9% if minimalistic).

    See `MobileNetV3Large`.
    """
    return _build("mobilenet_v3_small", input_shape, options)


def _build(variant: str, input_shape: Shape, options: MobileNetV3Options) -> keras.Model:
    row = VARIANTS[variant]
    given: dict[str, Any] = dict(options)
    name, minimalistic = given.pop("name"), bool(given.pop("minimalistic"))
    imagenet = None if minimalistic else ImageNetFiles(row.official, alphas=(0.75, 1.0))
    arguments = check_arguments(imagenet, input_shape=input_shape, **given)
    swish = RELU if minimalistic else SWISH
    stem_strides, *strides = parts.limit_strides(
        (2, *(block.strides for block in row.blocks)), arguments.output_stride
    )
    inputs, x = parts.image_input(arguments)
    x = parts.convolution(x, STEM_CHANNELS, 3, stem_strides, arguments, "stem", swish)
    for number, (block, step) in enumerate(zip(row.blocks, strides, strict=True)):
        # The first block has no expansion.
        expanded = round_channels(x.shape[-1] * block.expansion) if number else x.shape[-1]
        excite = block.excite and not minimalistic
        x = InvertedResidual(
            round_channels(block.channels * arguments.alpha),
            expansion=1,
            expanded=expanded if number else None,
            kernel_size=3 if minimalistic else block.kernel_size,
            strides=step,
            activation=RELU if minimalistic else block.activation,
            squeeze=round_channels(expanded * EXCITE) if excite else None,
            gate="hard_sigmoid",
            bn_momentum=arguments.bn_momentum,
            bn_epsilon=parts.BN_EPSILON,
            name=f"block_{number}",
        )(x)
    channels = round_channels(x.shape[-1] * LAST_EXPANSION)
    x = parts.convolution(x, channels, 1, 1, arguments, "head", swish)
    if not arguments.include_top:
        x = parts.global_pooling(x, arguments.pooling)
        return parts.finish_model(inputs, x, arguments, imagenet, name)
    features = (
        row.features if arguments.alpha <= 1 else round_channels(row.features * arguments.alpha)
    )
    x = parts.global_pooling(x, "avg", keepdims=True)
    x = keras.layers.Conv2D(features, 1, name="features")(x)
    x = parts.dropout(keras.layers.Activation(swish, name="features_act")(x), arguments)
    x = keras.layers.Conv2D(arguments.classes, 1, name="logits")(x)
    x = keras.layers.Flatten(name="flat_logits")(x)
    x = parts.activate(x, arguments)
    return parts.finish_model(inputs, x, arguments, imagenet, name)
