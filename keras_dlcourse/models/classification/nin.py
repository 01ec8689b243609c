"""Network in Network: a small network slides over the image, with no dense layer at the end.

The last layer has one feature map per class, whose mean over all positions is the class score. This
head has no weights that could overfit, accepts images of any size, and shows where each class was
found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

import keras

from keras_dlcourse.layers import MLPConv2D
from keras_dlcourse.models._shared import parts
from keras_dlcourse.models._shared.arguments import Options, Shape
from keras_dlcourse.models._shared.check_arguments import check_arguments
from keras_dlcourse.models.registry import register

DROPOUT = 0.5  # after pooling


@dataclass(frozen=True)
class Stage:
    """An MLP convolution and the pooling after it.

    Attributes:
        filters: Channels of each of its layers; 0 represents the number of classes.
        kernel_size: Height and width of the patches.
        strides: Stride between patches.
        pooling: `"max"`, `"average"`, or None.
        dropout: Whether dropout follows the pooling.
    """

    filters: tuple[int, ...]
    kernel_size: int
    strides: int = 1
    pooling: str | None = None
    dropout: bool = False


VARIANTS = {
    "nin_cifar10": (
        Stage((192, 160, 96), 5, pooling="max", dropout=True),
        Stage((192, 192, 192), 5, pooling="average", dropout=True),
        Stage((192, 192, 0), 3),
    ),
    "nin_imagenet": (
        Stage((96, 96, 96), 11, strides=4, pooling="max"),
        Stage((256, 256, 256), 5, pooling="max"),
        Stage((384, 384, 384), 3, pooling="max", dropout=True),
        Stage((1024, 1024, 0), 3),
    ),
}
_POOLINGS = {"max": keras.layers.MaxPooling2D, "average": keras.layers.AveragePooling2D}


@register("nin_cifar10", dropout=DROPOUT, classes=10)
def NiNCIFAR10(input_shape: Shape = (32, 32, 3), **options: Unpack[Options]) -> keras.Model:
    """Build the paper's Network in Network for small images (89.59% accuracy on CIFAR-10).

    The last feature map is a quarter of the image size, regardless of `output_stride`.
    The default is 10 classes.

    Args:
        input_shape: `(height, width, channels)`: at least 28x28 pixels (or None for any size), 1 or
            3 channels.
        **options: See `Options`.

    Returns:
        A functional Keras model from images to probabilities `(batch, classes)`, or to features.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range or contradicts another.

    Example:
        >>> NiNCIFAR10((None, None, 3), alpha=0.25).output_shape
        (None, 10)

    Reference:
        Lin, Chen and Yan, "Network In Network", ICLR 2014, https://arxiv.org/abs/1312.4400
    """
    return _build("nin_cifar10", input_shape, options)


@register("nin_imagenet", dropout=DROPOUT)
def NiNImageNet(input_shape: Shape = (224, 224, 3), **options: Unpack[Options]) -> keras.Model:
    """Build the authors' Network in Network for ImageNet (about 59% accuracy); see `NiNCIFAR10`."""
    return _build("nin_imagenet", input_shape, options)


def _build(variant: str, input_shape: Shape, options: Options) -> keras.Model:
    given: dict[str, Any] = dict(options)
    name = given.pop("name")
    arguments = check_arguments(None, input_shape=input_shape, **given)
    stages = VARIANTS[variant]
    natural = [step for stage in stages for step in (stage.strides, 2 if stage.pooling else 1)]
    strides = parts.limit_strides(natural, arguments.output_stride)
    inputs, x = parts.image_input(arguments)
    for number, stage in enumerate(stages, 1):
        step, pool = strides[2 * number - 2 : 2 * number]
        filters = tuple(
            parts.scale_channels(channels, arguments.alpha) if channels else arguments.classes
            for channels in (stage.filters if arguments.include_top else _features(stage))
        )
        x = MLPConv2D(filters, stage.kernel_size, step, name=f"mlpconv{number}")(x)
        if stage.pooling and pool > 1:
            pooling = _POOLINGS[stage.pooling](3, pool, padding="same", name=f"pool{number}")
            x = pooling(x)
        if stage.dropout and arguments.dropout:
            x = keras.layers.Dropout(arguments.dropout, name=f"dropout{number}")(x)
    if not arguments.include_top:
        return parts.finish_model(
            inputs, parts.global_pooling(x, arguments.pooling), arguments, None, name
        )
    x = parts.global_pooling(x, "avg")
    x = parts.activate(x, arguments)
    return parts.finish_model(inputs, x, arguments, None, name)


def _features(stage: Stage) -> tuple[int, ...]:
    """Return the channels of a stage without the class maps."""
    return tuple(channels for channels in stage.filters if channels)
