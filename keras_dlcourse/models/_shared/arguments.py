"""The arguments that every family shares."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from keras_dlcourse.edge.description.normalization import Normalization

Shape = Sequence[int | None]
Classes = int | Sequence[str]
Weights = str | os.PathLike[str] | None
Activation = str | Callable | None


class Options(TypedDict, total=False):
    """What every builder takes by name besides the shape of the input.

    Attributes:
        alpha: Width multiplier, above 0; 1 by default, which is the paper's width.
        include_top: Whether the model ends in its classifier; True by default.
        weights: None for random weights, `"imagenet"` for official ones where there are any, or the
            path of a `.weights.h5` file.
        pooling: Without the classifier: None for feature maps, `"avg"` or `"max"` for one vector an
            image.
        classes: Number of classes, or their names, which are then recorded in the model.
        classifier_activation: Activation of the classifier, softmax by default; None for logits.
        dropout: Share of features dropped in training before the classifier.
        output_stride: By how much the last feature map is smaller than the image, at most: 8, 16,
            32, or None for 32 from 96 pixels up, 16 from 48, 8 below. The strides that go are the
            last one, then the first.
        bn_momentum: Momentum of the moving statistics of batch normalization, 0.9 by default.
        preprocessing: What pixels of 0 to 255 go through before they are given to the model: a
            `keras_dlcourse.data.Normalization`, recorded in the model for export. It is not
            applied.
        name: Name of the model.
    """

    alpha: float
    include_top: bool
    weights: Weights
    pooling: str | None
    classes: Classes
    classifier_activation: Activation
    dropout: float
    output_stride: int | None
    bn_momentum: float
    preprocessing: Normalization | None
    name: str


@dataclass(frozen=True)
class Arguments:
    """The shared arguments of a builder, checked and with defaults resolved.

    Attributes:
        input_shape: `(height, width, channels)`; height and width may be None.
        alpha: Width multiplier.
        include_top: Whether the model ends in a classifier.
        weights: None, `"imagenet"` or an existing file.
        pooling: None, `"avg"` or `"max"`.
        classes: Number of outputs of the classifier.
        class_names: Their names, if they were given.
        classifier_activation: Activation of the classifier.
        dropout: Share of features dropped in training before the classifier.
        output_stride: By how much the last feature map is smaller than the input: 8, 16 or 32.
        bn_momentum: Momentum of the batch normalization's moving statistics.
        preprocessing: What the pixels went through, if that is known.
    """

    input_shape: tuple[int | None, int | None, int]
    alpha: float
    include_top: bool
    weights: Path | str | None
    pooling: str | None
    classes: int
    class_names: tuple[str, ...] | None
    classifier_activation: Activation
    dropout: float
    output_stride: int
    bn_momentum: float
    preprocessing: Normalization | None
