"""Arguments shared by all families."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypedDict

from keras_dlcourse.edge.description.normalization import Normalization

Shape = Sequence[int | None]
Classes = int | Sequence[str]
Weights = str | os.PathLike[str] | None
Activation = str | Callable | None


class Options(TypedDict, total=False):
    """Keyword arguments of every builder, in addition to the input shape."""

    alpha: Annotated[
        float,
        "Width multiplier, above 0. Defaults to 1, the paper's width.",
    ]
    include_top: Annotated[
        bool,
        "Whether the model ends in its classifier. Defaults to True.",
    ]
    weights: Annotated[
        Weights,
        'None for random weights, `"imagenet"` for official weights where they exist, or '
        "the path of a `.weights.h5` file.",
    ]
    pooling: Annotated[
        str | None,
        'Without the classifier: None for feature maps, `"avg"` or `"max"` for one vector '
        "per image.",
    ]
    classes: Annotated[
        Classes,
        "Number of classes, or their names, which are then recorded in the model.",
    ]
    classifier_activation: Annotated[
        Activation,
        "Activation of the classifier. Defaults to softmax; None for logits.",
    ]
    dropout: Annotated[
        float,
        "Fraction of features dropped during training before the classifier.",
    ]
    output_stride: Annotated[
        int | None,
        "Maximum ratio of the image size to the size of the last feature map: 8, 16, 32, or "
        "None for 32 from 96 pixels up, 16 from 48, 8 below. The last stride is set to 1 "
        "first, then the first one.",
    ]
    bn_momentum: Annotated[
        float,
        "Momentum of the moving statistics of batch normalization. Defaults to 0.9.",
    ]
    preprocessing: Annotated[
        Normalization | None,
        "Normalization applied to pixels in [0, 255] before they reach the model, a "
        "`keras_dlcourse.data.Normalization`. It is recorded in the model for export, not "
        "applied.",
    ]
    name: Annotated[
        str,
        "Name of the model.",
    ]


@dataclass(frozen=True)
class Arguments:
    """Shared arguments of a builder, validated and with defaults resolved.

    Attributes:
        input_shape: `(height, width, channels)`; height and width may be None.
        alpha: Width multiplier.
        include_top: Whether the model ends in a classifier.
        weights: None, `"imagenet"` or an existing file.
        pooling: None, `"avg"` or `"max"`.
        classes: Number of outputs of the classifier.
        class_names: Names of the classes, if they were given.
        classifier_activation: Activation of the classifier.
        dropout: Fraction of features dropped during training before the classifier.
        output_stride: Maximum ratio of the input size to the size of the last feature map: 8, 16
            or 32.
        bn_momentum: Momentum of the moving statistics of batch normalization.
        preprocessing: Normalization applied to the pixels, if known.
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
