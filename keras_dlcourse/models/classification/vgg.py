"""VGG: stacked small kernels with pooling in between, and large dense layers at the end.

Two 3x3 convolutions have the receptive field of one 5x5, and three that of one 7x7 (27 C^2 weights
instead of 49 C^2), with a nonlinearity after each. The network is therefore deep, and its features
are still used as a measure of perceptual similarity. Nine tenths of its weights are in the dense
layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Unpack

import keras

from keras_dlcourse._checks import check_one_of
from keras_dlcourse.models._shared import parts
from keras_dlcourse.models._shared.arguments import Arguments, Options, Shape
from keras_dlcourse.models._shared.check_arguments import check_arguments, check_one_size
from keras_dlcourse.models._shared.imagenet import BGR_PREPROCESSING, ImageNetFiles
from keras_dlcourse.models.registry import register

CHANNELS = (64, 128, 256, 512, 512)
DENSE = 4096
DROPOUT = 0.5  # after each of the two dense layers before the classifier
HEADS = ("dense", "convolution")


@dataclass(frozen=True)
class Variant:
    """A column of the paper's Table 1.

    Attributes:
        repeats: Number of 3x3 convolutions before each of the five poolings.
        official: Name in `keras.applications`, if it exists there.
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
    """Options of VGG networks, in addition to `Options`."""

    batch_norm: Annotated[
        bool,
        "Whether batch normalization follows each convolution; the paper has none.",
    ]
    head: Annotated[
        str,
        '`"dense"` flattens the last maps, so the image size is fixed. `"convolution"` has '
        "the same weights in convolutions, slides over larger maps and averages the scores.",
    ]


DEFAULTS: dict[str, Any] = {"dropout": DROPOUT, "batch_norm": False, "head": "dense"}


@register("vgg11", **DEFAULTS)
def VGG11(input_shape: Shape = (224, 224, 3), **options: Unpack[VGGOptions]) -> keras.Model:
    """Build a VGG-11 (configuration A) with eight 3x3 convolutions and three dense layers.

    Its top-1 accuracy on ImageNet is 70.4% (29.6% error in the paper).

    Args:
        input_shape: `(height, width, channels)`, at least 28x28 pixels, 1 or 3 channels; None for
            any size with `include_top=False` or `head="convolution"`.
        **options: See `VGGOptions`.

    Returns:
        A functional Keras model from images to probabilities `(batch, classes)`, or to features.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range or contradicts another.
        OSError: If official weights are requested and cannot be downloaded.

    Example:
        >>> VGG11((32, 32, 3), alpha=0.25, classes=10).output_shape
        (None, 10)

    Reference:
        Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
        Recognition", ICLR 2015, https://arxiv.org/abs/1409.1556
    """
    return _build("vgg11", input_shape, options)


@register("vgg13", **DEFAULTS)
def VGG13(input_shape: Shape = (224, 224, 3), **options: Unpack[VGGOptions]) -> keras.Model:
    """Build a VGG-13 (configuration B) (71.3% accuracy on ImageNet); see `VGG11`."""
    return _build("vgg13", input_shape, options)


@register("vgg16", **DEFAULTS)
def VGG16(input_shape: Shape = (224, 224, 3), **options: Unpack[VGGOptions]) -> keras.Model:
    """Build a VGG-16 (configuration D) (74.4% accuracy on ImageNet); see `VGG11`."""
    return _build("vgg16", input_shape, options)


@register("vgg19", **DEFAULTS)
def VGG19(input_shape: Shape = (224, 224, 3), **options: Unpack[VGGOptions]) -> keras.Model:
    """Build a VGG-19 (configuration E) (74.5% accuracy on ImageNet); see `VGG11`."""
    return _build("vgg19", input_shape, options)


def _build(variant: str, input_shape: Shape, options: VGGOptions) -> keras.Model:
    row = VARIANTS[variant]
    given: dict[str, Any] = dict(options)
    batch_norm, head = bool(given.pop("batch_norm")), given.pop("head")
    check_one_of("head", head, HEADS)
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
    inputs, x = parts.image_input(arguments)
    poolings = parts.limit_strides((2,) * len(CHANNELS), arguments.output_stride)
    parts.check_enough_left(arguments, [(step, step) for step in poolings])
    for stage, (channels, repeats) in enumerate(zip(CHANNELS, row.repeats, strict=True), 1):
        for number in range(1, repeats + 1):
            filters = parts.scale_channels(channels, arguments.alpha)
            x = _convolution(x, filters, f"block{stage}_conv{number}", batch_norm, arguments)
        if poolings[stage - 1] > 1:
            x = keras.layers.MaxPooling2D(2, name=f"block{stage}_pool")(x)
    if not arguments.include_top:
        x = parts.global_pooling(x, arguments.pooling)
    else:
        x = (_dense_head if head == "dense" else _convolution_head)(x, arguments)
    return parts.finish_model(inputs, x, arguments, imagenet, name)


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
        units = parts.scale_channels(DENSE, arguments.alpha)
        x = keras.layers.Dense(units, "relu", kernel_initializer="he_normal", name=name)(x)
        if arguments.dropout:
            x = keras.layers.Dropout(arguments.dropout, name=f"{name}_dropout")(x)
    return parts.predictions(x, arguments)


def _convolution_head(x: Any, arguments: Arguments) -> Any:
    """Apply the dense head as convolutions; the first is 7x7, the size of the paper's last maps."""
    height, width = (size or 7 for size in x.shape[1:3])
    units = parts.scale_channels(DENSE, arguments.alpha)
    for name, size in (("fc1", (min(height, 7), min(width, 7))), ("fc2", (1, 1))):
        x = keras.layers.Conv2D(
            units, size, activation="relu", kernel_initializer="he_normal", name=name
        )(x)
        if arguments.dropout:
            x = keras.layers.Dropout(arguments.dropout, name=f"{name}_dropout")(x)
    x = keras.layers.Conv2D(arguments.classes, 1, name="predictions_conv")(x)
    x = parts.global_pooling(x, "avg")
    return parts.activate(x, arguments)
