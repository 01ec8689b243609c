"""MobileNetV2: inverted residuals with linear bottlenecks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras

from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.layers import InvertedResidual
from keras_dlcourse.models._shared import parts
from keras_dlcourse.models._shared.arguments import Activation, Classes, Weights
from keras_dlcourse.models._shared.check_arguments import check_arguments
from keras_dlcourse.models._shared.imagenet import ImageNetFiles
from keras_dlcourse.models.registry import register


@dataclass(frozen=True)
class Stage:
    """A row of the paper's Table 2: a sequence of identical blocks.

    Attributes:
        expansion: Factor by which each block widens its input (t).
        channels: Output channels before the width multiplier (c).
        repeats: Number of blocks (n).
        strides: Stride of the first block (s); the others have stride 1.
    """

    expansion: int
    channels: int
    repeats: int
    strides: int


STEM_CHANNELS, STEM_STRIDES, HEAD_CHANNELS = 32, 2, 1280

STAGES = (
    Stage(expansion=1, channels=16, repeats=1, strides=1),
    Stage(expansion=6, channels=24, repeats=2, strides=2),
    Stage(expansion=6, channels=32, repeats=3, strides=2),
    Stage(expansion=6, channels=64, repeats=4, strides=2),
    Stage(expansion=6, channels=96, repeats=3, strides=1),
    Stage(expansion=6, channels=160, repeats=3, strides=2),
    Stage(expansion=6, channels=320, repeats=1, strides=1),
)

IMAGENET = ImageNetFiles(
    "MobileNetV2", alphas=(0.35, 0.5, 0.75, 1.0, 1.3, 1.4), sizes=(96, 128, 160, 192, 224)
)


@register("mobilenet_v2")
def MobileNetV2(
    input_shape: Sequence[int | None] = (224, 224, 3),
    alpha: float = 1.0,
    include_top: bool = True,
    weights: Weights = None,
    pooling: str | None = None,
    classes: Classes = 1000,
    classifier_activation: Activation = "softmax",
    dropout: float = 0.0,
    output_stride: int | None = None,
    bn_momentum: float = 0.9,
    preprocessing: Normalization | None = None,
    name: str = "mobilenet_v2",
) -> keras.Model:
    """Build a MobileNetV2 with about 3.5 million parameters at alpha 1.

    It has a stem convolution, 17 inverted residual blocks and a 1x1 convolution.

    The last feature map is smaller than the image by a factor of `output_stride`. At 16, the last
    stride of the network becomes 1; at 8, the stride of the stem does too. This preserves the
    detail of small images in the first layers, and enough positions in the last ones.

    Args:
        input_shape: `(height, width, channels)`: at least 28x28 pixels (or None for any size), 1 or
            3 channels.
        alpha: Width multiplier, any number above 0. Widths become multiples of 8.
        include_top: Whether to end in global average pooling and a dense classifier.
        weights: None for random weights, `"imagenet"` for the official ones (downloaded once, then
            cached by Keras), or the path of a `.weights.h5` file.
        pooling: Without the classifier: None for feature maps of shape
            `(batch, height / output_stride, width / output_stride, features)`, `"avg"` or `"max"`
            for one vector per image.
        classes: Number of classes, or their names, which are then recorded in the model.
        classifier_activation: Activation of the classifier; None for logits.
        dropout: Fraction of features dropped during training before the classifier, in [0, 1).
        output_stride: 8, 16, 32, or None: 32 from 96 pixels up, 16 from 48, 8 below.
        bn_momentum: Momentum of the moving statistics of batch normalization. With the value in
            `keras.applications` (0.999), they need about 5,000 steps to become useful.
        preprocessing: Normalization applied to pixels in [0, 255] before they reach the model, a
            `keras_dlcourse.data.Normalization`. It is recorded in the model for export, not
            applied. ImageNet weights bring their own.
        name: Name of the model.

    Returns:
        A functional Keras model from images to probabilities of shape `(batch, classes)` (or to
        features without the classifier).

    Raises:
        TypeError: If `classes`, `weights` or `preprocessing` has the wrong type.
        ValueError: If an argument is out of range or contradicts another, or no official weights
            exist for it.
        OSError: If official weights are requested and cannot be downloaded.

    Example:
        >>> model = MobileNetV2((28, 28, 1), alpha=0.35, classes=["cat", "dog"])
        >>> model.output_shape
        (None, 2)

    Reference:
        Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018,
        https://arxiv.org/abs/1801.04381
    """
    arguments = check_arguments(
        IMAGENET,
        input_shape=input_shape,
        alpha=alpha,
        include_top=include_top,
        weights=weights,
        pooling=pooling,
        classes=classes,
        classifier_activation=classifier_activation,
        dropout=dropout,
        output_stride=output_stride,
        bn_momentum=bn_momentum,
        preprocessing=preprocessing,
    )
    stem_strides, *stage_strides = parts.limit_strides(
        (STEM_STRIDES, *(stage.strides for stage in STAGES)), arguments.output_stride
    )
    inputs, x = parts.image_input(arguments)
    stem_channels = round_channels(STEM_CHANNELS * arguments.alpha)
    x = parts.convolution(x, stem_channels, 3, stem_strides, arguments, "stem")
    block = 0
    for stage, strides in zip(STAGES, stage_strides, strict=True):
        for repeat in range(stage.repeats):
            x = InvertedResidual(
                round_channels(int(stage.channels * arguments.alpha)),
                expansion=stage.expansion,
                strides=strides if repeat == 0 else 1,
                bn_momentum=arguments.bn_momentum,
                bn_epsilon=parts.BN_EPSILON,
                name=f"block_{block}",
            )(x)
            block += 1
    # As in the paper, alpha may widen the last convolution, but not narrow it.
    head_channels = round_channels(HEAD_CHANNELS * max(1.0, arguments.alpha))
    x = parts.convolution(x, head_channels, 1, 1, arguments, "head")
    x = parts.classify(x, arguments)
    return parts.finish_model(inputs, x, arguments, IMAGENET, name)


def round_channels(channels: float, divisor: int = 8) -> int:
    """Return the multiple of `divisor` nearest to `channels`, at least `divisor`.

    Rounding removes at most a tenth of the channels, so that narrow layers do not shrink much.

    Example:
        >>> round_channels(32 * 0.35), round_channels(11), round_channels(1)
        (16, 16, 8)
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded
