"""DenseNet: each layer in a block receives the outputs of all previous ones, and adds channels.

Features are reused instead of relearned, so layers can be very narrow (12 channels), and gradients
reach each of them directly. Transitions between blocks halve the size of the maps and, with
compression, the number of channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Unpack

import keras

from keras_dlcourse.layers import DenseBlock, DenseTransition
from keras_dlcourse.models._shared import parts
from keras_dlcourse.models._shared.arguments import Arguments, Options, Shape
from keras_dlcourse.models._shared.check_arguments import check_arguments
from keras_dlcourse.models._shared.imagenet import TORCH_PREPROCESSING, ImageNetFiles
from keras_dlcourse.models.registry import register

EPSILON = 1.001e-5  # as in keras.applications


@dataclass(frozen=True)
class Variant:
    """A row of a table in the paper.

    Attributes:
        blocks: Number of layers in each dense block.
        growth_rate: Number of channels that each layer adds.
        stem: Channels before the first block.
        bottleneck: Whether a 1x1 convolution precedes the convolution of each layer.
        compression: Fraction of the channels that a transition keeps.
        is_small: Whether the network is for small images, with a 3x3 stem and no pooling.
        official: Name in `keras.applications`, if it exists there.
    """

    blocks: tuple[int, ...]
    growth_rate: int = 32
    stem: int = 64
    bottleneck: bool = True
    compression: float = 0.5
    is_small: bool = False
    official: str | None = None


VARIANTS = {
    "densenet121": Variant((6, 12, 24, 16), official="DenseNet121"),
    "densenet169": Variant((6, 12, 32, 32), official="DenseNet169"),
    "densenet201": Variant((6, 12, 48, 32), official="DenseNet201"),
    "densenet_40_12": Variant(
        (12, 12, 12), 12, stem=16, bottleneck=False, compression=1.0, is_small=True
    ),
    "densenet_bc_100_12": Variant((16, 16, 16), 12, stem=24, is_small=True),
    "densenet_bc_190_40": Variant((31, 31, 31), 40, stem=80, is_small=True),
}


class DenseNetOptions(Options, total=False):
    """Options of DenseNets, in addition to `Options`."""

    block_dropout: Annotated[
        float,
        "Fraction of features dropped during training after each convolution. The paper "
        "uses 0.2 without data augmentation.",
    ]


@register("densenet121", block_dropout=0.0)
def DenseNet121(
    input_shape: Shape = (224, 224, 3), **options: Unpack[DenseNetOptions]
) -> keras.Model:
    """Build a DenseNet-121 (75.0% accuracy on ImageNet).

    `alpha` scales the growth rate and the stem.

    Args:
        input_shape: `(height, width, channels)`: at least 28x28 pixels (or None for any size), 1 or
            3 channels.
        **options: See `DenseNetOptions`.

    Returns:
        A functional Keras model from images to probabilities `(batch, classes)`, or to features.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range or contradicts another.
        OSError: If official weights are requested and cannot be downloaded.

    Example:
        >>> DenseNet121((32, 32, 3), alpha=0.25, classes=10).output_shape
        (None, 10)

    Reference:
        Huang et al., "Densely Connected Convolutional Networks", CVPR 2017,
        https://arxiv.org/abs/1608.06993
    """
    return _build("densenet121", input_shape, options)


@register("densenet169", block_dropout=0.0)
def DenseNet169(
    input_shape: Shape = (224, 224, 3), **options: Unpack[DenseNetOptions]
) -> keras.Model:
    """Build a DenseNet-169 (76.2% accuracy on ImageNet); see `DenseNet121`."""
    return _build("densenet169", input_shape, options)


@register("densenet201", block_dropout=0.0)
def DenseNet201(
    input_shape: Shape = (224, 224, 3), **options: Unpack[DenseNetOptions]
) -> keras.Model:
    """Build a DenseNet-201 (77.4% accuracy on ImageNet); see `DenseNet121`."""
    return _build("densenet201", input_shape, options)


@register("densenet_40_12", block_dropout=0.0, classes=10)
def DenseNet40x12(
    input_shape: Shape = (32, 32, 3), **options: Unpack[DenseNetOptions]
) -> keras.Model:
    """Build a DenseNet of 40 layers that add 12 channels each (94.76% accuracy on CIFAR-10).

    It has no bottlenecks and no compression. The last feature map is a quarter of the image size,
    regardless of `output_stride`. The default is 10 classes. See `DenseNet121`.
    """
    return _build("densenet_40_12", input_shape, options)


@register("densenet_bc_100_12", block_dropout=0.0, classes=10)
def DenseNetBC100x12(
    input_shape: Shape = (32, 32, 3), **options: Unpack[DenseNetOptions]
) -> keras.Model:
    """Build a DenseNet of 100 layers with bottlenecks (95.49% accuracy on CIFAR-10).

    See `DenseNet40x12`.
    """
    return _build("densenet_bc_100_12", input_shape, options)


@register("densenet_bc_190_40", block_dropout=0.0, classes=10)
def DenseNetBC190x40(
    input_shape: Shape = (32, 32, 3), **options: Unpack[DenseNetOptions]
) -> keras.Model:
    """Build a DenseNet of 190 layers that add 40 channels each (96.54% accuracy on CIFAR-10).

    See `DenseNet40x12`.
    """
    return _build("densenet_bc_190_40", input_shape, options)


def _build(variant: str, input_shape: Shape, options: DenseNetOptions) -> keras.Model:
    row = VARIANTS[variant]
    given: dict[str, Any] = dict(options)
    name, dropped = given.pop("name"), given.pop("block_dropout")
    imagenet = None
    if row.official:
        imagenet = ImageNetFiles(row.official, preprocessing=TORCH_PREPROCESSING)
    arguments = check_arguments(imagenet, input_shape=input_shape, **given)
    norms: dict[str, Any] = {"bn_momentum": arguments.bn_momentum, "bn_epsilon": EPSILON}
    inputs, x = parts.image_input(arguments)
    x, strides = _stem(x, row, arguments)
    growth = parts.scale_channels(row.growth_rate, arguments.alpha)
    for number, repeats in enumerate(row.blocks, 1):
        x = DenseBlock(repeats, growth, row.bottleneck, dropped, name=f"block{number}", **norms)(x)
        if number < len(row.blocks):
            x = DenseTransition(
                row.compression, strides[number - 1], dropped, name=f"transition{number}", **norms
            )(x)
    x = parts.normalize(x, "end", EPSILON, arguments)
    return parts.finish_model(inputs, parts.classify(x, arguments), arguments, imagenet, name)


def _stem(x: Any, row: Variant, arguments: Arguments) -> tuple[Any, tuple[int, ...]]:
    """Return the input of the first block, and the strides of the transitions."""
    channels = parts.scale_channels(row.stem, arguments.alpha)
    transitions = (2,) * (len(row.blocks) - 1)
    if row.is_small:
        x = parts.small_convolution(x, channels)
        return x, parts.limit_strides(transitions, arguments.output_stride)
    first, pooling, *rest = parts.limit_strides((2, 2, *transitions), arguments.output_stride)
    x = parts.large_convolution(x, channels, first)
    x = parts.large_pooling(parts.normalize(x, "stem", EPSILON, arguments), pooling)
    return x, tuple(rest)
