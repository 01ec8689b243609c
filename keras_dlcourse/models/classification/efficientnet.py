"""EfficientNet: a small network found by search, scaled up in depth, width and image size.

Scaling only one of the three soon stops helping; scaling all three in fixed proportions helps.
The base network has MobileNetV2 blocks with squeeze-and-excitation and swish. The authors' table of
scaling factors deviates slightly from their formula (`compound_scale`). The lite networks omit
squeeze-and-excitation and swish, which suit neither integer arithmetic nor accelerators.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, Unpack

import keras

from keras_dlcourse._checks import check_number
from keras_dlcourse.layers import InvertedResidual
from keras_dlcourse.models._shared import parts
from keras_dlcourse.models._shared.arguments import Options, Shape
from keras_dlcourse.models._shared.check_arguments import check_arguments
from keras_dlcourse.models._shared.imagenet import TORCH_PREPROCESSING, ImageNetFiles
from keras_dlcourse.models.classification.mobilenet_v2 import round_channels
from keras_dlcourse.models.registry import register

STEM, HEAD, EXCITE, DROP_PATH = 32, 1280, 0.25, 0.2


@dataclass(frozen=True)
class Stage:
    """A row of the paper's Table 1.

    Attributes:
        expansion: Factor by which each block widens its input.
        kernel_size: Height and width of the depthwise kernels.
        channels: Output channels.
        repeats: Number of blocks.
        strides: Stride of the first block.
    """

    expansion: int
    kernel_size: int
    channels: int
    repeats: int
    strides: int


STAGES = (
    Stage(1, 3, 16, 1, 1),
    Stage(6, 3, 24, 2, 2),
    Stage(6, 5, 40, 2, 2),
    Stage(6, 3, 80, 3, 2),
    Stage(6, 5, 112, 3, 1),
    Stage(6, 5, 192, 4, 2),
    Stage(6, 3, 320, 1, 1),
)


@dataclass(frozen=True)
class Variant:
    """A row of the authors' table.

    Attributes:
        width: Scaling factor of the channels.
        depth: Scaling factor of the repeats.
        size: Height and width of the images that the network was designed for.
        dropout: Fraction of features dropped before the classifier.
        is_lite: Whether it is one of the lite networks.
    """

    width: float
    depth: float
    size: int
    dropout: float
    is_lite: bool = False


VARIANTS = {
    "efficientnet_b0": Variant(1.0, 1.0, 224, 0.2),
    "efficientnet_b1": Variant(1.0, 1.1, 240, 0.2),
    "efficientnet_b2": Variant(1.1, 1.2, 260, 0.3),
    "efficientnet_b3": Variant(1.2, 1.4, 300, 0.3),
    "efficientnet_b4": Variant(1.4, 1.8, 380, 0.4),
    "efficientnet_b5": Variant(1.6, 2.2, 456, 0.4),
    "efficientnet_b6": Variant(1.8, 2.6, 528, 0.5),
    "efficientnet_b7": Variant(2.0, 3.1, 600, 0.5),
    "efficientnet_lite0": Variant(1.0, 1.0, 224, 0.2, is_lite=True),
    "efficientnet_lite1": Variant(1.0, 1.1, 240, 0.2, is_lite=True),
    "efficientnet_lite2": Variant(1.1, 1.2, 260, 0.3, is_lite=True),
    "efficientnet_lite3": Variant(1.2, 1.4, 280, 0.3, is_lite=True),
    "efficientnet_lite4": Variant(1.4, 1.8, 300, 0.3, is_lite=True),
}


class CompoundScale(NamedTuple):
    """Scaling factors of a network.

    Attributes:
        depth: Factor of the number of layers.
        width: Factor of the number of channels.
        resolution: Factor of the height and width of the images.
    """

    depth: float
    width: float
    resolution: float


def compound_scale(
    phi: float, alpha: float = 1.2, beta: float = 1.1, gamma: float = 1.15
) -> CompoundScale:
    """Compute the depth, width and resolution factors for a compound coefficient.

        depth = alpha^phi, width = beta^phi, resolution = gamma^phi

    `alpha * beta^2 * gamma^2` is about 2, so each increment of phi doubles the multiply-adds. The
    factors of B1 to B7 were rounded by hand: the table row of B4 is 1.8, 1.4 and 380 / 224 = 1.70,
    while the formula gives 2.07, 1.46 and 1.75 at 4.

    Args:
        phi: Compound coefficient; 0 changes nothing.
        alpha: Base of the depth factor.
        beta: Base of the width factor.
        gamma: Base of the resolution factor.

    Raises:
        ValueError: If a base is below 1.

    Example:
        >>> [round(factor, 2) for factor in compound_scale(4)]
        [2.07, 1.46, 1.75]

    Reference:
        Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
        ICML 2019, https://arxiv.org/abs/1905.11946, equation 3
    """
    for name, base in (("alpha", alpha), ("beta", beta), ("gamma", gamma)):
        check_number(name, base, least=1)
    return CompoundScale(alpha**phi, beta**phi, gamma**phi)


class EfficientNetOptions(Options, total=False):
    """Options of EfficientNets, in addition to `Options`."""

    drop_path: Annotated[
        float,
        "Fraction of images for which the last block is skipped during training; for the "
        "other blocks, it is proportional to their depth (stochastic depth). Defaults to "
        "0.2.",
    ]


@register("efficientnet_b0", dropout=VARIANTS["efficientnet_b0"].dropout, drop_path=DROP_PATH)
def EfficientNetB0(
    input_shape: Shape = (224, 224, 3), **options: Unpack[EfficientNetOptions]
) -> keras.Model:
    """Build an EfficientNet-B0 (77.1% accuracy on ImageNet).

    Args:
        input_shape: `(height, width, channels)`: at least 28x28 pixels (or None for any size), 1 or
            3 channels.
        **options: See `EfficientNetOptions`.

    Returns:
        A functional Keras model from images to probabilities `(batch, classes)`, or to features.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range or contradicts another.
        OSError: If official weights are requested and cannot be downloaded.

    Example:
        >>> EfficientNetB0((32, 32, 3), alpha=0.25, classes=10).output_shape
        (None, 10)

    Reference:
        Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
        ICML 2019, https://arxiv.org/abs/1905.11946
    """
    return _build("efficientnet_b0", input_shape, options)


@register("efficientnet_b1", dropout=VARIANTS["efficientnet_b1"].dropout, drop_path=DROP_PATH)
def EfficientNetB1(
    input_shape: Shape = (240, 240, 3), **options: Unpack[EfficientNetOptions]
) -> keras.Model:
    """Build an EfficientNet-B1 (79.1% accuracy on ImageNet); see `EfficientNetB0`."""
    return _build("efficientnet_b1", input_shape, options)


@register("efficientnet_b2", dropout=VARIANTS["efficientnet_b2"].dropout, drop_path=DROP_PATH)
def EfficientNetB2(
    input_shape: Shape = (260, 260, 3), **options: Unpack[EfficientNetOptions]
) -> keras.Model:
    """Build an EfficientNet-B2 (80.1% accuracy on ImageNet); see `EfficientNetB0`."""
    return _build("efficientnet_b2", input_shape, options)


@register("efficientnet_b3", dropout=VARIANTS["efficientnet_b3"].dropout, drop_path=DROP_PATH)
def EfficientNetB3(
    input_shape: Shape = (300, 300, 3), **options: Unpack[EfficientNetOptions]
) -> keras.Model:
    """Build an EfficientNet-B3 (81.6% accuracy on ImageNet); see `EfficientNetB0`."""
    return _build("efficientnet_b3", input_shape, options)


@register("efficientnet_b4", dropout=VARIANTS["efficientnet_b4"].dropout, drop_path=DROP_PATH)
def EfficientNetB4(
    input_shape: Shape = (380, 380, 3), **options: Unpack[EfficientNetOptions]
) -> keras.Model:
    """Build an EfficientNet-B4 (82.9% accuracy on ImageNet); see `EfficientNetB0`."""
    return _build("efficientnet_b4", input_shape, options)


@register("efficientnet_b5", dropout=VARIANTS["efficientnet_b5"].dropout, drop_path=DROP_PATH)
def EfficientNetB5(
    input_shape: Shape = (456, 456, 3), **options: Unpack[EfficientNetOptions]
) -> keras.Model:
    """Build an EfficientNet-B5 (83.6% accuracy on ImageNet); see `EfficientNetB0`."""
    return _build("efficientnet_b5", input_shape, options)


@register("efficientnet_b6", dropout=VARIANTS["efficientnet_b6"].dropout, drop_path=DROP_PATH)
def EfficientNetB6(
    input_shape: Shape = (528, 528, 3), **options: Unpack[EfficientNetOptions]
) -> keras.Model:
    """Build an EfficientNet-B6 (84.0% accuracy on ImageNet); see `EfficientNetB0`."""
    return _build("efficientnet_b6", input_shape, options)


@register("efficientnet_b7", dropout=VARIANTS["efficientnet_b7"].dropout, drop_path=DROP_PATH)
def EfficientNetB7(
    input_shape: Shape = (600, 600, 3), **options: Unpack[EfficientNetOptions]
) -> keras.Model:
    """Build an EfficientNet-B7 (84.3% accuracy on ImageNet); see `EfficientNetB0`."""
    return _build("efficientnet_b7", input_shape, options)


@register("efficientnet_lite0", dropout=VARIANTS["efficientnet_lite0"].dropout, drop_path=DROP_PATH)
def EfficientNetLite0(
    input_shape: Shape = (224, 224, 3), **options: Unpack[EfficientNetOptions]
) -> keras.Model:
    """Build an EfficientNet-lite0 (75.1% accuracy on ImageNet, 74.4% in int8).

    See `EfficientNetB0`.
    """
    return _build("efficientnet_lite0", input_shape, options)


@register("efficientnet_lite1", dropout=VARIANTS["efficientnet_lite1"].dropout, drop_path=DROP_PATH)
def EfficientNetLite1(
    input_shape: Shape = (240, 240, 3), **options: Unpack[EfficientNetOptions]
) -> keras.Model:
    """Build an EfficientNet-lite1; see `EfficientNetLite0`."""
    return _build("efficientnet_lite1", input_shape, options)


@register("efficientnet_lite2", dropout=VARIANTS["efficientnet_lite2"].dropout, drop_path=DROP_PATH)
def EfficientNetLite2(
    input_shape: Shape = (260, 260, 3), **options: Unpack[EfficientNetOptions]
) -> keras.Model:
    """Build an EfficientNet-lite2; see `EfficientNetLite0`."""
    return _build("efficientnet_lite2", input_shape, options)


@register("efficientnet_lite3", dropout=VARIANTS["efficientnet_lite3"].dropout, drop_path=DROP_PATH)
def EfficientNetLite3(
    input_shape: Shape = (280, 280, 3), **options: Unpack[EfficientNetOptions]
) -> keras.Model:
    """Build an EfficientNet-lite3; see `EfficientNetLite0`."""
    return _build("efficientnet_lite3", input_shape, options)


@register("efficientnet_lite4", dropout=VARIANTS["efficientnet_lite4"].dropout, drop_path=DROP_PATH)
def EfficientNetLite4(
    input_shape: Shape = (300, 300, 3), **options: Unpack[EfficientNetOptions]
) -> keras.Model:
    """Build an EfficientNet-lite4 (81.5% accuracy on ImageNet, 80.2% in int8).

    See `EfficientNetLite0`.
    """
    return _build("efficientnet_lite4", input_shape, options)


def _build(variant: str, input_shape: Shape, options: EfficientNetOptions) -> keras.Model:
    row = VARIANTS[variant]
    given: dict[str, Any] = dict(options)
    name, drop_path = given.pop("name"), given.pop("drop_path")
    imagenet = None
    if not row.is_lite:
        official = f"EfficientNet{variant.removeprefix('efficientnet_').upper()}"
        # The first three weights belong to the normalization layer inside the official networks.
        imagenet = ImageNetFiles(official, preprocessing=TORCH_PREPROCESSING, skipped=3)
    arguments = check_arguments(imagenet, input_shape=input_shape, **given)

    def width(channels: int, fixed: bool = False) -> int:
        factor = 1.0 if fixed and row.is_lite else row.width  # lite stems and heads do not grow
        return round_channels(channels * factor * arguments.alpha)

    activation = "relu6" if row.is_lite else "silu"
    stem_strides, *strides = parts.limit_strides(
        (2, *(stage.strides for stage in STAGES)), arguments.output_stride
    )
    inputs, x = parts.image_input(arguments)
    x = parts.convolution(x, width(STEM, True), 3, stem_strides, arguments, "stem", activation)
    repeats = [_repeats(row, number) for number in range(len(STAGES))]
    total, done = sum(repeats), 0
    for stage, step, count in zip(STAGES, strides, repeats, strict=True):
        for number in range(count):
            x = InvertedResidual(
                width(stage.channels),
                expansion=stage.expansion,
                kernel_size=stage.kernel_size,
                strides=step if number == 0 else 1,
                activation=activation,
                squeeze=None if row.is_lite else max(1, int(x.shape[-1] * EXCITE)),
                squeeze_activation=activation,
                drop_path=drop_path * done / total,
                bn_momentum=arguments.bn_momentum,
                bn_epsilon=parts.BN_EPSILON,
                name=f"block_{done}",
            )(x)
            done += 1
    x = parts.convolution(x, width(HEAD, True), 1, 1, arguments, "head", activation)
    return parts.finish_model(inputs, parts.classify(x, arguments), arguments, imagenet, name)


def _repeats(row: Variant, number: int) -> int:
    """Return the number of blocks in a stage; lite networks keep one in the first and the last."""
    stage = STAGES[number]
    if row.is_lite and number in (0, len(STAGES) - 1):
        return stage.repeats
    return math.ceil(stage.repeats * row.depth)
