"""VGG: small kernels on each other, pooling between, and large dense layers at the end.

Two 3x3 convolutions see as much as one of 5x5, three as much as one of 7x7 (27 C^2 weights against
49 C^2), with a nonlinearity between each. So the network is deep, and its features are still in
use as a measure of what looks alike. Nine tenths of its weights stand in the first dense layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

import keras

from keras_dlcourse.models._shared import parts as _graph
from keras_dlcourse.models._shared.arguments import Arguments, Options, Shape
from keras_dlcourse.models._shared.check_arguments import check_arguments, check_one_size
from keras_dlcourse.models._shared.imagenet import BGR_PREPROCESSING, ImageNetFiles
from keras_dlcourse.models.registry import register

CHANNELS = (64, 128, 256, 512, 512)
DENSE = 4096
DROPOUT = 0.5  # behind each of the two dense layers before the classifier
HEADS = ("dense", "convolution")


@dataclass(frozen=True)
class Variant:
    """A column of the paper's Table 1.

    Attributes:
        repeats: Convolutions of 3x3 before each of the five poolings.
        official: Name in `keras.applications`, if it is there.
    """

    repeats: tuple[int, ...]
    official: str | None = None


VARIANTS = {
    "vgg11": Variant((1, 1, 2, 2, 2)),
    "vgg13": Variant((2, 2, 2, 2, 2)),
    "vgg16": Variant((2, 2, 3, 3, 3), official="VGG16"),
    "vgg19": Variant((2, 2, 4, 4, 4), official="VGG19"),
}


class VGGOptions(Options, total=False):
    """Options of the VGGs besides those of all builders.

    Attributes:
        batch_norm: Whether a batch normalization stands behind each convolution; the paper knew
            none.
        head: `"dense"` flattens the last maps, so images have one size. `"convolution"` has the
            same weights in convolutions, slides over larger maps and averages what it finds.
    """

    batch_norm: bool
    head: str


@register("vgg11")
def VGG11(input_shape: Shape = (224, 224, 3), **options: Unpack[VGGOptions]) -> keras.Model:
    """Build a VGG-11 (configuration A): 8 convolutions of 3x3 and 3 dense layers.

    Trained on ImageNet it is right on 70.4 % (top 1; the paper's 29.6 % error).

    Args:
        input_shape: `(height, width, channels)`, at least 28x28 pixels, 1 or 3 channels; None for
            any size with `include_top=False` or `head="convolution"`.
        **options: See `VGGOptions` and `Options`; `dropout` is 0.5 by default.

    Returns:
        A functional Keras model from images to probabilities `(batch, classes)`, or to features.

    Raises:
        TypeError: If an argument is of a wrong kind.
        ValueError: If an argument is out of its range or contradicts another.
        OSError: If official weights are asked for and cannot be fetched.

    Example:
        >>> VGG11((32, 32, 3), alpha=0.25, classes=10).output_shape
        (None, 10)

    Reference:
        Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
        Recognition", ICLR 2015, https://arxiv.org/abs/1409.1556
    """
    return _build("vgg11", input_shape, options)


@register("vgg13")
def VGG13(input_shape: Shape = (224, 224, 3), **options: Unpack[VGGOptions]) -> keras.Model:
    """Build a VGG-13 (configuration B), 71.3 % on ImageNet; see `VGG11`."""
    return _build("vgg13", input_shape, options)


@register("vgg16")
def VGG16(input_shape: Shape = (224, 224, 3), **options: Unpack[VGGOptions]) -> keras.Model:
    """Build a VGG-16 (configuration D), 74.4 % on ImageNet; see `VGG11`."""
    return _build("vgg16", input_shape, options)


@register("vgg19")
def VGG19(input_shape: Shape = (224, 224, 3), **options: Unpack[VGGOptions]) -> keras.Model:
    """Build a VGG-19 (configuration E), 74.5 % on ImageNet; see `VGG11`."""
    return _build("vgg19", input_shape, options)


def _build(variant: str, input_shape: Shape, options: VGGOptions) -> keras.Model:
    row = VARIANTS[variant]
    given: dict[str, Any] = {"dropout": DROPOUT, "name": variant, **options}
    batch_norm, head = bool(given.pop("batch_norm", False)), given.pop("head", "dense")
    if head not in HEADS:
        raise ValueError(f"head must be 'dense' or 'convolution'. Received: {head!r}")
    name = given.pop("name")
    has_files = row.official is not None and not batch_norm
    imagenet = (
        ImageNetFiles(row.official, preprocessing=BGR_PREPROCESSING, is_bgr=True)
        if row.official and has_files
        else None
    )
    arguments = check_arguments(imagenet, input_shape=input_shape, **given)
    if head == "dense":
        check_one_size(arguments, "VGG", ", or set head='convolution'")
    inputs, x = _graph.image_input(arguments)
    poolings = _graph.limited_strides((2,) * len(CHANNELS), arguments.output_stride)
    _graph.check_enough_left(arguments, [(step, step) for step in poolings])
    for stage, (channels, repeats) in enumerate(zip(CHANNELS, row.repeats, strict=True), 1):
        for number in range(1, repeats + 1):
            filters = _graph.scaled(channels, arguments.alpha)
            x = _convolution(x, filters, f"block{stage}_conv{number}", batch_norm, arguments)
        if poolings[stage - 1] > 1:
            x = keras.layers.MaxPooling2D(2, name=f"block{stage}_pool")(x)
    if not arguments.include_top:
        x = _graph.global_pooling(x, arguments.pooling)
    else:
        x = (_dense_head if head == "dense" else _convolution_head)(x, arguments)
    return _graph.finished(inputs, x, arguments, imagenet, name)


def _convolution(x: Any, filters: int, name: str, batch_norm: bool, arguments: Arguments) -> Any:
    x = keras.layers.Conv2D(filters, 3, padding="same", kernel_initializer="he_normal", name=name)(
        x
    )
    if batch_norm:
        x = keras.layers.BatchNormalization(
            momentum=arguments.bn_momentum, epsilon=1e-5, name=f"{name}_bn"
        )(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _dense_head(x: Any, arguments: Arguments) -> Any:
    x = keras.layers.Flatten(name="flatten")(x)
    for name in ("fc1", "fc2"):
        units = _graph.scaled(DENSE, arguments.alpha)
        x = keras.layers.Dense(units, "relu", kernel_initializer="he_normal", name=name)(x)
        if arguments.dropout:
            x = keras.layers.Dropout(arguments.dropout, name=f"{name}_dropout")(x)
    return _graph.predictions(x, arguments)


def _convolution_head(x: Any, arguments: Arguments) -> Any:
    """The same as convolutions: the first as large as the maps of the paper's images, 7x7."""
    height, width = (size or 7 for size in x.shape[1:3])
    units = _graph.scaled(DENSE, arguments.alpha)
    for name, size in (("fc1", (min(height, 7), min(width, 7))), ("fc2", (1, 1))):
        x = keras.layers.Conv2D(
            units, size, activation="relu", kernel_initializer="he_normal", name=name
        )(x)
        if arguments.dropout:
            x = keras.layers.Dropout(arguments.dropout, name=f"{name}_dropout")(x)
    x = keras.layers.Conv2D(arguments.classes, 1, name="predictions_conv")(x)
    x = _graph.global_pooling(x, "avg")
    return _graph.activated(x, arguments)
