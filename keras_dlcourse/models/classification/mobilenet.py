"""MobileNet: a plain stack of depthwise separable convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras

from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.layers import DepthwiseSeparableConv2D
from keras_dlcourse.models._shared import parts
from keras_dlcourse.models._shared.arguments import Activation, Classes, Weights
from keras_dlcourse.models._shared.check_arguments import check_arguments
from keras_dlcourse.models._shared.imagenet import ImageNetFiles
from keras_dlcourse.models.registry import register


@dataclass(frozen=True)
class Stage:
    """Rows of the paper's Table 1 with the same width: a sequence of identical blocks.

    Attributes:
        channels: Output channels before the width multiplier.
        repeats: Number of blocks.
        strides: Stride of the first block; the others have stride 1.
    """

    channels: int
    repeats: int
    strides: int


STEM_CHANNELS, STEM_STRIDES = 32, 2

STAGES = (
    Stage(channels=64, repeats=1, strides=1),
    Stage(channels=128, repeats=2, strides=2),
    Stage(channels=256, repeats=2, strides=2),
    Stage(channels=512, repeats=6, strides=2),
    # The paper's table lists stride 2 for the last block at an unchanged size; it must be 1.
    Stage(channels=1024, repeats=2, strides=2),
)

IMAGENET = ImageNetFiles("MobileNet", alphas=(0.25, 0.5, 0.75, 1.0), sizes=(128, 160, 192, 224))


@register("mobilenet")
def MobileNet(
    input_shape: Sequence[int | None] = (224, 224, 3),
    alpha: float = 1.0,
    include_top: bool = True,
    weights: Weights = None,
    pooling: str | None = None,
    classes: Classes = 1000,
    classifier_activation: Activation = "softmax",
    dropout: float = 0.001,
    output_stride: int | None = None,
    bn_momentum: float = 0.9,
    preprocessing: Normalization | None = None,
    name: str = "mobilenet",
) -> keras.Model:
    """Build a MobileNet (version 1) with about 4.2 million parameters at alpha 1.

    It has a stem convolution and 13 depthwise separable convolutions.

    The last feature map is smaller than the image by a factor of `output_stride`. At 16, the last
    stride of the network becomes 1; at 8, the stride of the stem does too. This preserves the
    detail of small images in the first layers, and enough positions in the last ones.

    Args:
        input_shape: `(height, width, channels)`: at least 28x28 pixels (or None for any size), 1 or
            3 channels.
        alpha: Width multiplier, any number above 0. Widths are rounded down.
        include_top: Whether to end in global average pooling and a 1x1 convolution as the
            classifier.
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
            `keras.applications` (0.99), they need a few hundred steps to become useful.
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
        >>> model = MobileNet((28, 28, 1), alpha=0.25, classes=["cat", "dog"])
        >>> model.output_shape
        (None, 2)

    Reference:
        Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
        Applications", 2017, https://arxiv.org/abs/1704.04861
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
    stem_channels = parts.scale_channels(STEM_CHANNELS, arguments.alpha)
    x = parts.convolution(x, stem_channels, 3, stem_strides, arguments, "stem")
    block = 1
    for stage, strides in zip(STAGES, stage_strides, strict=True):
        for repeat in range(stage.repeats):
            x = DepthwiseSeparableConv2D(
                parts.scale_channels(stage.channels, arguments.alpha),
                strides=strides if repeat == 0 else 1,
                bn_momentum=arguments.bn_momentum,
                bn_epsilon=parts.BN_EPSILON,
                name=f"block_{block}",
            )(x)
            block += 1
    if arguments.include_top:
        x = parts.dropout(parts.global_pooling(x, "avg", keepdims=True), arguments)
        # A 1x1 convolution on pooled features is a dense layer, in the layout of official weights.
        x = keras.layers.Conv2D(
            arguments.classes, 1, padding="same", data_format="channels_last", name="logits"
        )(x)
        x = keras.layers.Reshape((arguments.classes,), name="flat_logits")(x)
        x = parts.activate(x, arguments)
    else:
        x = parts.global_pooling(x, arguments.pooling)
    return parts.finish_model(inputs, x, arguments, IMAGENET, name)
