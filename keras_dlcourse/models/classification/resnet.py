"""ResNet: blocks that learn what to add to their input, so that depth helps.

A plain network of 56 layers has a higher *training* error than one of 20. With the input added to
what each block finds, gradients reach the first layer unhindered, a block that has nothing to add
can be the identity, and 152 layers train. Wide ResNets and ResNeXts are made of the same block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

import keras

from keras_dlcourse.layers import ResidualBlock
from keras_dlcourse.models._shared import parts as _graph
from keras_dlcourse.models._shared.arguments import Arguments, Options, Shape
from keras_dlcourse.models._shared.check_arguments import check_arguments
from keras_dlcourse.models._shared.imagenet import BGR_PREPROCESSING, ImageNetFiles
from keras_dlcourse.models.registry import register

EXPANSION = 4  # channels of a bottleneck's output by those inside
OFFICIAL_EPSILON = 1.001e-5


@dataclass(frozen=True)
class Variant:
    """A column of a table of the papers.

    Attributes:
        blocks: Blocks of each stage.
        kind: Of the blocks, `"basic"` or `"bottleneck"`.
        channels: Output channels of each stage.
        width: Channels inside the bottlenecks of each stage; None for a fourth of the output.
        groups: Groups of their spatial convolution.
        is_small: Whether it is for small images: a 3x3 convolution for a stem, and no pooling.
        stem: Channels of the stem.
        shortcut: How shortcuts change sizes, `"project"` or `"pad"`.
        preactivation: Whether normalization and ReLU stand before the convolutions.
        official: Name in `keras.applications`, if it is there.
    """

    blocks: tuple[int, ...]
    kind: str = "basic"
    channels: tuple[int, ...] = (64, 128, 256, 512)
    width: tuple[int, ...] | None = None
    groups: int = 1
    is_small: bool = False
    stem: int = 64
    shortcut: str = "project"
    preactivation: bool = False
    official: str | None = None


def _deep(*blocks: int, official: str | None = None) -> Variant:
    channels = tuple(EXPANSION * width for width in (64, 128, 256, 512))
    return Variant(blocks, "bottleneck", channels, official=official)


def _cifar(depth: int) -> Variant:
    """Return the paper's network of `6 n + 2` layers for images of 32x32."""
    return Variant(
        ((depth - 2) // 6,) * 3, channels=(16, 32, 64), is_small=True, stem=16, shortcut="pad"
    )


VARIANTS = {
    "resnet18": Variant((2, 2, 2, 2)),
    "resnet34": Variant((3, 4, 6, 3)),
    "resnet50": _deep(3, 4, 6, 3, official="ResNet50"),
    "resnet101": _deep(3, 4, 23, 3, official="ResNet101"),
    "resnet152": _deep(3, 8, 36, 3, official="ResNet152"),
    **{f"resnet{depth}_cifar": _cifar(depth) for depth in (20, 32, 44, 56, 110)},
}


class ResidualOptions(Options, total=False):
    """Options of residual networks besides those of all builders.

    Attributes:
        shortcut: How the input joins an output of another size: `"project"` (the paper's B) or
            `"pad"` (A, without weights); `"none"` for no shortcut at all, a plain network.
        zero_last_gamma: Whether each block starts as the identity.
    """

    shortcut: str
    zero_last_gamma: bool


class ResNetOptions(ResidualOptions, total=False):
    """Options of ResNets besides those.

    Attributes:
        version: 1, or 2 with normalization and ReLU before the convolutions.
        use_bias: The form of `keras.applications`: biases in convolutions, strides in the first
            convolution of a bottleneck, another epsilon. Official weights need it.
    """

    version: int
    use_bias: bool


@register("resnet18")
def ResNet18(input_shape: Shape = (224, 224, 3), **options: Unpack[ResNetOptions]) -> keras.Model:
    """Build a ResNet-18: a stem and four stages of two basic blocks.

    Trained on ImageNet it is right on 69.8 % (torchvision; the paper's 72.1 % is of ten crops).
    Bottlenecks stride in their spatial convolution, which the paper did in the first.

    Args:
        input_shape: `(height, width, channels)`: at least 28x28 pixels (or None for any size), 1 or
            3 channels.
        **options: See `ResNetOptions`, `ResidualOptions` and `Options`.

    Returns:
        A functional Keras model from images to probabilities `(batch, classes)`, or to features.

    Raises:
        TypeError: If an argument is of a wrong kind.
        ValueError: If an argument is out of its range or contradicts another.
        OSError: If official weights are asked for and cannot be fetched.

    Example:
        >>> ResNet18((32, 32, 3), alpha=0.25, classes=10).output_shape
        (None, 10)

    Reference:
        He et al., "Deep Residual Learning for Image Recognition", CVPR 2016,
        https://arxiv.org/abs/1512.03385; version 2: "Identity Mappings in Deep Residual Networks",
        ECCV 2016, https://arxiv.org/abs/1603.05027
    """
    return _build("resnet18", input_shape, options)


@register("resnet34")
def ResNet34(input_shape: Shape = (224, 224, 3), **options: Unpack[ResNetOptions]) -> keras.Model:
    """Build a ResNet-34, 73.3 % on ImageNet; see `ResNet18`."""
    return _build("resnet34", input_shape, options)


@register("resnet50")
def ResNet50(input_shape: Shape = (224, 224, 3), **options: Unpack[ResNetOptions]) -> keras.Model:
    """Build a ResNet-50 of bottleneck blocks, 76.1 % on ImageNet; see `ResNet18`."""
    return _build("resnet50", input_shape, options)


@register("resnet101")
def ResNet101(input_shape: Shape = (224, 224, 3), **options: Unpack[ResNetOptions]) -> keras.Model:
    """Build a ResNet-101, 77.4 % on ImageNet; see `ResNet18`."""
    return _build("resnet101", input_shape, options)


@register("resnet152")
def ResNet152(input_shape: Shape = (224, 224, 3), **options: Unpack[ResNetOptions]) -> keras.Model:
    """Build a ResNet-152 of 50 bottleneck blocks, 78.3 % on ImageNet; see `ResNet18`."""
    return _build("resnet152", input_shape, options)


@register("resnet20_cifar")
def ResNet20CIFAR(
    input_shape: Shape = (32, 32, 3), **options: Unpack[ResNetOptions]
) -> keras.Model:
    """Build the paper's ResNet-20 for small images, with padded shortcuts, 91.25 % on CIFAR-10.

    Its last maps are a fourth of the image, whatever `output_stride`. 10 classes by default; for
    the rest see `ResNet18`.
    """
    return _build("resnet20_cifar", input_shape, options)


@register("resnet32_cifar")
def ResNet32CIFAR(
    input_shape: Shape = (32, 32, 3), **options: Unpack[ResNetOptions]
) -> keras.Model:
    """Build the paper's ResNet-32, 92.49 % on CIFAR-10; see `ResNet20CIFAR`."""
    return _build("resnet32_cifar", input_shape, options)


@register("resnet44_cifar")
def ResNet44CIFAR(
    input_shape: Shape = (32, 32, 3), **options: Unpack[ResNetOptions]
) -> keras.Model:
    """Build the paper's ResNet-44, 92.83 % on CIFAR-10; see `ResNet20CIFAR`."""
    return _build("resnet44_cifar", input_shape, options)


@register("resnet56_cifar")
def ResNet56CIFAR(
    input_shape: Shape = (32, 32, 3), **options: Unpack[ResNetOptions]
) -> keras.Model:
    """Build the paper's ResNet-56, 93.03 % on CIFAR-10; see `ResNet20CIFAR`."""
    return _build("resnet56_cifar", input_shape, options)


@register("resnet110_cifar")
def ResNet110CIFAR(
    input_shape: Shape = (32, 32, 3), **options: Unpack[ResNetOptions]
) -> keras.Model:
    """Build the paper's ResNet-110, 93.39 % on CIFAR-10; see `ResNet20CIFAR`."""
    return _build("resnet110_cifar", input_shape, options)


def _build(variant: str, input_shape: Shape, options: ResNetOptions) -> keras.Model:
    given: dict[str, Any] = {"name": variant, **options}
    version, use_bias = given.pop("version", 1), bool(given.pop("use_bias", False))
    if version not in (1, 2):
        raise ValueError(f"version must be 1 or 2. Received: {version!r}")
    row = VARIANTS[variant]
    if given.get("weights") == "imagenet" and not (row.official and use_bias and version == 1):
        raise ValueError(
            "weights='imagenet' exist for ResNet50, ResNet101 and ResNet152 of version 1 with "
            f"use_bias=True. Received: {variant}, version={version}, use_bias={use_bias}"
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
        row: What it is made of.
        input_shape: The shape of an image.
        given: Options, by name.
        block: Arguments of the blocks besides those that the row and the options give.
        imagenet: Which official weights there are.
    """
    given = dict(given)
    name = given.pop("name")
    block = {
        "shortcut": given.pop("shortcut", row.shortcut),
        "zero_last_gamma": bool(given.pop("zero_last_gamma", False)),
        "preactivation": row.preactivation,
        "bn_epsilon": 1e-5,
        **block,
    }
    given.setdefault("classes", 10 if row.is_small else 1000)
    arguments = check_arguments(imagenet, input_shape=input_shape, **given)
    inputs, x = _graph.image_input(arguments)
    x, strides = _stem(x, row, block, arguments)
    for stage, (blocks, channels) in enumerate(zip(row.blocks, row.channels, strict=True)):
        for number in range(blocks):
            x = ResidualBlock(
                _graph.scaled(channels, arguments.alpha, row.groups),
                row.kind,
                strides=strides[stage] if number == 0 else 1,
                width=_width(row, stage, arguments),
                groups=row.groups,
                bn_momentum=arguments.bn_momentum,
                name=f"stage{stage + 1}_block{number + 1}",
                **block,
            )(x)
    if block["preactivation"]:
        x = _graph.normalized(x, "end", block["bn_epsilon"], arguments)
    return _graph.finished(inputs, _graph.classified(x, arguments), arguments, imagenet, name)


def _width(row: Variant, stage: int, arguments: Arguments) -> int | None:
    """Return the channels inside a bottleneck, which groups divide."""
    if row.kind == "basic":
        return None
    width = row.width[stage] if row.width else row.channels[stage] // EXPANSION
    return _graph.scaled(width, arguments.alpha, row.groups)


def _stem(
    x: Any, row: Variant, block: dict[str, Any], arguments: Arguments
) -> tuple[Any, tuple[int, ...]]:
    """Return what the first stage takes, and the strides of the stages."""
    channels = _graph.scaled(row.stem, arguments.alpha)
    stages = (1,) + (2,) * (len(row.blocks) - 1)
    use_bias = block.get("use_bias", False)
    if row.is_small:
        x = _graph.small_convolution(x, channels, use_bias)
        if not block["preactivation"]:
            x = _graph.normalized(x, "stem", block["bn_epsilon"], arguments)
        return x, _graph.limited_strides(stages, arguments.output_stride)
    first, pooling, *rest = _graph.limited_strides((2, 2, *stages), arguments.output_stride)
    x = _graph.large_convolution(x, channels, first, use_bias)
    if not block["preactivation"]:
        x = _graph.normalized(x, "stem", block["bn_epsilon"], arguments)
    x = _graph.large_pooling(x, pooling)
    return x, tuple(rest)
