"""ResNeXt: residual bottlenecks with grouped convolutions, equivalent to many narrow paths.

The sum of parallel paths of the same shape equals one path with a grouped convolution. At the same
cost, increasing the number of groups (cardinality) helps more than increasing depth or width.
"""

from __future__ import annotations

from typing import Any, Unpack

import keras

from keras_dlcourse.models._shared.arguments import Shape
from keras_dlcourse.models.classification.resnet import ResidualOptions, Variant, residual_network
from keras_dlcourse.models.registry import register

_CHANNELS = (256, 512, 1024, 2048)


def _imagenet(blocks: tuple[int, ...], groups: int, each: int) -> Variant:
    """Return a network whose first bottlenecks have `groups` groups of `each` channels."""
    width = tuple(groups * each * factor for factor in (1, 2, 4, 8))
    return Variant(blocks, "bottleneck", _CHANNELS, width, groups)


def _cifar(groups: int, each: int) -> Variant:
    """Return the paper's 29-layer network for 32x32 images."""
    width = tuple(groups * each * factor for factor in (1, 2, 4))
    return Variant((3, 3, 3), "bottleneck", _CHANNELS[:3], width, groups, is_small=True, stem=64)


VARIANTS = {
    "resnext50_32x4d": _imagenet((3, 4, 6, 3), 32, 4),
    "resnext101_32x8d": _imagenet((3, 4, 23, 3), 32, 8),
    "resnext29_8x64d": _cifar(8, 64),
    "resnext29_16x64d": _cifar(16, 64),
}


DEFAULTS: dict[str, Any] = {"shortcut": "project", "zero_last_gamma": False}


@register("resnext50_32x4d", **DEFAULTS)
def ResNeXt50(
    input_shape: Shape = (224, 224, 3), **options: Unpack[ResidualOptions]
) -> keras.Model:
    """Build a ResNeXt-50 with 32 groups of 4 channels (77.8% accuracy on ImageNet).

    Widths scaled by `alpha` become multiples of the number of groups.

    Args:
        input_shape: `(height, width, channels)`: at least 28x28 pixels (or None for any size), 1 or
            3 channels.
        **options: See `ResidualOptions`.

    Returns:
        A functional Keras model from images to probabilities `(batch, classes)`, or to features.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range or contradicts another.

    Example:
        >>> ResNeXt50((32, 32, 3), alpha=0.25, classes=10).output_shape
        (None, 10)

    Reference:
        Xie et al., "Aggregated Residual Transformations for Deep Neural Networks", CVPR 2017,
        https://arxiv.org/abs/1611.05431
    """
    return _build("resnext50_32x4d", input_shape, options)


@register("resnext101_32x8d", **DEFAULTS)
def ResNeXt101(
    input_shape: Shape = (224, 224, 3), **options: Unpack[ResidualOptions]
) -> keras.Model:
    """Build a ResNeXt-101 with 32 groups of 8 channels (79.3% accuracy on ImageNet).

    See `ResNeXt50`.
    """
    return _build("resnext101_32x8d", input_shape, options)


@register("resnext29_8x64d", **DEFAULTS, classes=10)
def ResNeXt29x8(
    input_shape: Shape = (32, 32, 3), **options: Unpack[ResidualOptions]
) -> keras.Model:
    """Build a ResNeXt-29 with 8 groups of 64 channels for small images.

    It reaches 96.35% accuracy on CIFAR-10.
    The last feature map is a quarter of the image size. The default is 10 classes. See `ResNeXt50`.
    """
    return _build("resnext29_8x64d", input_shape, options)


@register("resnext29_16x64d", **DEFAULTS, classes=10)
def ResNeXt29x16(
    input_shape: Shape = (32, 32, 3), **options: Unpack[ResidualOptions]
) -> keras.Model:
    """Build a ResNeXt-29 with 16 groups (96.42% accuracy on CIFAR-10); see `ResNeXt29x8`."""
    return _build("resnext29_16x64d", input_shape, options)


def _build(variant: str, input_shape: Shape, options: ResidualOptions) -> keras.Model:
    given: dict[str, Any] = dict(options)
    return residual_network(VARIANTS[variant], input_shape, given, {})
