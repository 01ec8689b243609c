"""ResNet: blocks that learn a residual to add to their input, so that depth helps.

A plain network of 56 layers has a higher *training* error than one of 20. With the input added to
the output of each block, gradients reach the first layer directly, a block with nothing to add can
be the identity, and 152 layers can be trained. Wide ResNets and ResNeXts use the same block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Unpack

import keras

from keras_dlcourse._checks import check_one_of
from keras_dlcourse.layers import ResidualBlock
from keras_dlcourse.models._shared import parts
from keras_dlcourse.models._shared.arguments import Arguments, Options, Shape
from keras_dlcourse.models._shared.check_arguments import check_arguments
from keras_dlcourse.models._shared.imagenet import BGR_PREPROCESSING, ImageNetFiles
from keras_dlcourse.models.registry import register

EXPANSION = 4  # ratio of a bottleneck's output channels to its inner channels
OFFICIAL_EPSILON = 1.001e-5


@dataclass(frozen=True)
class Variant:
    """A column of a table in the papers.

    Attributes:
        blocks: Number of blocks in each stage.
        kind: Kind of blocks, `"basic"` or `"bottleneck"`.
        channels: Output channels of each stage.
        width: Channels inside the bottlenecks of each stage; None for a quarter of the output.
        groups: Groups of the spatial convolution in bottlenecks.
        is_small: Whether the network is for small images, with a 3x3 stem and no pooling.
        stem: Channels of the stem.
        preactivation: Whether normalization and ReLU precede the convolutions.
        official: Name in `keras.applications`, if it exists there.
    """

    blocks: tuple[int, ...]
    kind: str = "basic"
    channels: tuple[int, ...] = (64, 128, 256, 512)
    width: tuple[int, ...] | None = None
    groups: int = 1
    is_small: bool = False
    stem: int = 64
    preactivation: bool = False
    official: str | None = None


def _deep(*blocks: int, official: str | None = None) -> Variant:
    channels = tuple(EXPANSION * width for width in (64, 128, 256, 512))
    return Variant(blocks, "bottleneck", channels, official=official)


def _cifar(depth: int) -> Variant:
    """Return the paper's network of `6 n + 2` layers for 32x32 images."""
    return Variant(((depth - 2) // 6,) * 3, channels=(16, 32, 64), is_small=True, stem=16)


VARIANTS = {
    "resnet18": Variant((2, 2, 2, 2)),
    "resnet34": Variant((3, 4, 6, 3)),
    "resnet50": _deep(3, 4, 6, 3, official="ResNet50"),
    "resnet101": _deep(3, 4, 23, 3, official="ResNet101"),
    "resnet152": _deep(3, 8, 36, 3, official="ResNet152"),
    **{f"resnet{depth}_cifar": _cifar(depth) for depth in (20, 32, 44, 56, 110)},
}


class ResidualOptions(Options, total=False):
    """Options of residual networks, in addition to `Options`."""

    shortcut: Annotated[
        str,
        'How the input is added to an output of another size: `"project"` (option B in the '
        'paper) or `"pad"` (option A, without weights). `"none"` omits all shortcuts, for a '
        "plain network.",
    ]
    zero_last_gamma: Annotated[
        bool,
        "Whether each block starts as the identity.",
    ]


class ResNetOptions(ResidualOptions, total=False):
    """Options of ResNets, in addition to `ResidualOptions`."""

    version: Annotated[
        int,
        "1, or 2 for normalization and ReLU before the convolutions.",
    ]
    use_bias: Annotated[
        bool | None,
        "Whether to use the variant in `keras.applications`: convolutions with biases, the "
        "stride in the first convolution of a bottleneck, and a different epsilon. None: if "
        "`weights` are the official ones, which require it.",
    ]


DEFAULTS: dict[str, Any] = {
    "shortcut": "project", "zero_last_gamma": False, "version": 1, "use_bias": None,
}  # fmt: skip
CIFAR_DEFAULTS = {**DEFAULTS, "shortcut": "pad", "classes": 10}


@register("resnet18", **DEFAULTS)
def ResNet18(input_shape: Shape = (224, 224, 3), **options: Unpack[ResNetOptions]) -> keras.Model:
    """Build a ResNet-18 with a stem and four stages of two basic blocks.

    Its accuracy on ImageNet is 69.8% (torchvision; the paper's 72.1% uses ten crops). Bottlenecks
    have their stride in the spatial convolution; the paper has it in the first convolution.

    Args:
        input_shape: `(height, width, channels)`: at least 28x28 pixels (or None for any size), 1 or
            3 channels.
        **options: See `ResNetOptions`.

    Returns:
        A functional Keras model from images to probabilities `(batch, classes)`, or to features.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range or contradicts another.
        OSError: If official weights are requested and cannot be downloaded.

    Example:
        >>> ResNet18((32, 32, 3), alpha=0.25, classes=10).output_shape
        (None, 10)

    Reference:
        He et al., "Deep Residual Learning for Image Recognition", CVPR 2016,
        https://arxiv.org/abs/1512.03385; version 2: "Identity Mappings in Deep Residual Networks",
        ECCV 2016, https://arxiv.org/abs/1603.05027
    """
    return _build("resnet18", input_shape, options)


@register("resnet34", **DEFAULTS)
def ResNet34(input_shape: Shape = (224, 224, 3), **options: Unpack[ResNetOptions]) -> keras.Model:
    """Build a ResNet-34 (73.3% accuracy on ImageNet); see `ResNet18`."""
    return _build("resnet34", input_shape, options)


@register("resnet50", **DEFAULTS)
def ResNet50(input_shape: Shape = (224, 224, 3), **options: Unpack[ResNetOptions]) -> keras.Model:
    """Build a ResNet-50 with bottleneck blocks (76.1% accuracy on ImageNet); see `ResNet18`."""
    return _build("resnet50", input_shape, options)


@register("resnet101", **DEFAULTS)
def ResNet101(input_shape: Shape = (224, 224, 3), **options: Unpack[ResNetOptions]) -> keras.Model:
    """Build a ResNet-101 (77.4% accuracy on ImageNet); see `ResNet18`."""
    return _build("resnet101", input_shape, options)


@register("resnet152", **DEFAULTS)
def ResNet152(input_shape: Shape = (224, 224, 3), **options: Unpack[ResNetOptions]) -> keras.Model:
    """Build a ResNet-152 with 50 bottleneck blocks (78.3% accuracy on ImageNet); see `ResNet18`."""
    return _build("resnet152", input_shape, options)


@register("resnet20_cifar", **CIFAR_DEFAULTS)
def ResNet20CIFAR(
    input_shape: Shape = (32, 32, 3), **options: Unpack[ResNetOptions]
) -> keras.Model:
    """Build the paper's ResNet-20 for small images, with padded shortcuts.

    It reaches 91.25% accuracy on CIFAR-10.
    The last feature map is a quarter of the image size, regardless of `output_stride`.
    The default is 10 classes. For the other arguments, see `ResNet18`.
    """
    return _build("resnet20_cifar", input_shape, options)


@register("resnet32_cifar", **CIFAR_DEFAULTS)
def ResNet32CIFAR(
    input_shape: Shape = (32, 32, 3), **options: Unpack[ResNetOptions]
) -> keras.Model:
    """Build the paper's ResNet-32 (92.49% accuracy on CIFAR-10); see `ResNet20CIFAR`."""
    return _build("resnet32_cifar", input_shape, options)


@register("resnet44_cifar", **CIFAR_DEFAULTS)
def ResNet44CIFAR(
    input_shape: Shape = (32, 32, 3), **options: Unpack[ResNetOptions]
) -> keras.Model:
    """Build the paper's ResNet-44 (92.83% accuracy on CIFAR-10); see `ResNet20CIFAR`."""
    return _build("resnet44_cifar", input_shape, options)


@register("resnet56_cifar", **CIFAR_DEFAULTS)
def ResNet56CIFAR(
    input_shape: Shape = (32, 32, 3), **options: Unpack[ResNetOptions]
) -> keras.Model:
    """Build the paper's ResNet-56 (93.03% accuracy on CIFAR-10); see `ResNet20CIFAR`."""
    return _build("resnet56_cifar", input_shape, options)


@register("resnet110_cifar", **CIFAR_DEFAULTS)
def ResNet110CIFAR(
    input_shape: Shape = (32, 32, 3), **options: Unpack[ResNetOptions]
) -> keras.Model:
    """Build the paper's ResNet-110 (93.39% accuracy on CIFAR-10); see `ResNet20CIFAR`."""
    return _build("resnet110_cifar", input_shape, options)


def _build(variant: str, input_shape: Shape, options: ResNetOptions) -> keras.Model:
    given: dict[str, Any] = dict(options)
    version, use_bias = given.pop("version"), given.pop("use_bias")
    check_one_of("version", version, (1, 2))
    row = VARIANTS[variant]
    use_bias = given["weights"] == "imagenet" if use_bias is None else bool(use_bias)
    if given["weights"] == "imagenet" and not (row.official and use_bias and version == 1):
        raise ValueError(
            "weights='imagenet' is available only for ResNet50, ResNet101 and ResNet152 with "
            "version=1 and use_bias=True. "
            f"Received: {variant}, version={version}, use_bias={use_bias}"
        )
    block = {"preactivation": version == 2, "use_bias": use_bias, "strides_first": use_bias}
    if use_bias:
        block["bn_epsilon"] = OFFICIAL_EPSILON
    imagenet = None
    if row.official:
        imagenet = ImageNetFiles(row.official, preprocessing=BGR_PREPROCESSING, is_bgr=True)
    return residual_network(row, input_shape, given, block, imagenet)


def residual_network(
    row: Variant,
    input_shape: Shape,
    given: dict[str, Any],
    block: dict[str, Any],
    imagenet: ImageNetFiles | None = None,
) -> keras.Model:
    """Build a network of residual blocks.

    Args:
        row: Configuration of the network.
        input_shape: Shape of an image.
        given: Options by name.
        block: Further arguments of the blocks, which override those from `row` and `given`.
        imagenet: The available official weights, if any.
    """
    given = dict(given)
    name = given.pop("name")
    block = {
        "shortcut": given.pop("shortcut"),
        "zero_last_gamma": bool(given.pop("zero_last_gamma")),
        "preactivation": row.preactivation,
        "bn_epsilon": 1e-5,
        **block,
    }
    arguments = check_arguments(imagenet, input_shape=input_shape, **given)
    inputs, x = parts.image_input(arguments)
    x, strides = _stem(x, row, block, arguments)
    for stage, (blocks, channels) in enumerate(zip(row.blocks, row.channels, strict=True)):
        for number in range(blocks):
            x = ResidualBlock(
                parts.scale_channels(channels, arguments.alpha, row.groups),
                row.kind,
                strides=strides[stage] if number == 0 else 1,
                width=_width(row, stage, arguments),
                groups=row.groups,
                bn_momentum=arguments.bn_momentum,
                name=f"stage{stage + 1}_block{number + 1}",
                **block,
            )(x)
    if block["preactivation"]:
        x = parts.normalize(x, "end", block["bn_epsilon"], arguments)
    return parts.finish_model(inputs, parts.classify(x, arguments), arguments, imagenet, name)


def _width(row: Variant, stage: int, arguments: Arguments) -> int | None:
    """Return the channels inside a bottleneck, a multiple of the groups; None for basic blocks."""
    if row.kind == "basic":
        return None
    width = row.width[stage] if row.width else row.channels[stage] // EXPANSION
    return parts.scale_channels(width, arguments.alpha, row.groups)


def _stem(
    x: Any, row: Variant, block: dict[str, Any], arguments: Arguments
) -> tuple[Any, tuple[int, ...]]:
    """Return the input of the first stage, and the strides of the stages."""
    channels = parts.scale_channels(row.stem, arguments.alpha)
    stages = (1,) + (2,) * (len(row.blocks) - 1)
    use_bias = block.get("use_bias", False)
    if row.is_small:
        x = parts.small_convolution(x, channels, use_bias)
        if not block["preactivation"]:
            x = parts.normalize(x, "stem", block["bn_epsilon"], arguments)
        return x, parts.limit_strides(stages, arguments.output_stride)
    first, pooling, *rest = parts.limit_strides((2, 2, *stages), arguments.output_stride)
    x = parts.large_convolution(x, channels, first, use_bias)
    if not block["preactivation"]:
        x = parts.normalize(x, "stem", block["bn_epsilon"], arguments)
    x = parts.large_pooling(x, pooling)
    return x, tuple(rest)
