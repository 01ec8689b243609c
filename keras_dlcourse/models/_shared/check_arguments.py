"""The arguments that every family shares, checked in one place before anything is built."""

from __future__ import annotations

import numbers
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import keras

from keras_dlcourse._checks import fraction, is_whole, positive_float, positive_int
from keras_dlcourse._files import user_path
from keras_dlcourse.edge.description.labels import checked_class_names
from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.models._shared.arguments import (
    Activation,
    Arguments,
    Classes,
    Shape,
    Weights,
)
from keras_dlcourse.models._shared.imagenet import ImageNetFiles

SMALLEST_INPUT = 28
"""Height and width of the smallest images, in pixels: those of MNIST and its like."""


OUTPUT_STRIDES = (8, 16, 32)


def check_arguments(
    imagenet: ImageNetFiles | None,
    *,
    input_shape: Shape,
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
) -> Arguments:
    """Check the shared arguments, alone and against each other.

    Args:
        imagenet: Which official weights there are, if any.
        input_shape: The shape of an image; the others are those of `Options`.
        alpha: See `Options`, as all that follow.
        include_top: See there.
        weights: See there.
        pooling: See there.
        classes: See there.
        classifier_activation: See there.
        dropout: See there.
        output_stride: See there.
        bn_momentum: See there.
        preprocessing: See there.

    Raises:
        TypeError: If `classes` is neither a number nor names, or `preprocessing` no Normalization.
        ValueError: If an argument is out of its range or contradicts another.
    """
    shape = _checked_shape(input_shape)
    number, names = _checked_classes(classes)
    if names is not None and not include_top:
        raise ValueError(
            "classes was given as names, but a model without a classifier (include_top=False) has "
            "no classes to name. Leave classes out, or set include_top=True."
        )
    arguments = Arguments(
        input_shape=shape,
        alpha=positive_float("alpha", alpha),
        include_top=include_top,
        weights=_checked_weights(weights),
        pooling=_checked_pooling(pooling, include_top),
        classes=number,
        class_names=names,
        classifier_activation=_checked_activation(classifier_activation),
        dropout=fraction("dropout", dropout),
        output_stride=_checked_output_stride(output_stride, shape),
        bn_momentum=fraction("bn_momentum", bn_momentum),
        preprocessing=_checked_preprocessing(preprocessing, shape[2]),
    )
    if weights == "imagenet":
        if imagenet is None:
            raise ValueError(
                "weights='imagenet' do not exist for this network: leave weights out, or give the "
                "path of a .weights.h5 file."
            )
        imagenet.check(arguments)
        arguments = replace(arguments, preprocessing=imagenet.preprocessing)
    return arguments


def check_one_size(arguments: Arguments, network: str, way_out: str = "") -> None:
    """Raise ValueError if a network whose classifier is dense is to take images of any size."""
    if arguments.include_top and None in arguments.input_shape:
        raise ValueError(
            f"{network} has dense layers and takes images of one size: give height and width"
            f"{way_out}. Received: input_shape={arguments.input_shape}"
        )


def _checked_shape(input_shape: Sequence[int | None]) -> tuple[int | None, int | None, int]:
    """Return (height, width, channels) if a network can be built on it."""
    try:
        height, width, channels = input_shape
    except (TypeError, ValueError):
        raise ValueError(
            f"input_shape must be (height, width, channels). Received: {input_shape!r}"
        ) from None
    for size in (height, width):
        if size is not None and not (is_whole(size) and size >= SMALLEST_INPUT):
            raise ValueError(
                f"input_shape must have a height and width of at least {SMALLEST_INPUT} pixels (or "
                f"None for any). Resize smaller images first. Received: {tuple(input_shape)}"
            )
    if not (is_whole(channels) and channels in (1, 3)):
        raise ValueError(
            "input_shape must end in 1 channel (grey) or 3 channels (RGB), as in (96, 96, 3). "
            f"Received: {tuple(input_shape)}"
        )
    return (
        None if height is None else int(height),
        None if width is None else int(width),
        int(channels),
    )


def _checked_classes(classes: Classes) -> tuple[int, tuple[str, ...] | None]:
    """Return the number of classes and their names, if there are any."""
    if isinstance(classes, numbers.Number):
        return positive_int("classes", classes), None
    if not hasattr(classes, "__len__") or isinstance(classes, (int, str)):
        raise TypeError(
            "classes must be a number, or a sequence of names such as ['cat', 'dog']. "
            f"Received: {classes!r}"
        )
    names = checked_class_names(classes, "classes")
    return len(names), names


def _checked_weights(weights: Weights) -> Path | str | None:
    """Return None, "imagenet" or the path of an existing file of weights."""
    if weights is None or weights == "imagenet":
        return None if weights is None else "imagenet"
    expected = "weights must be None, 'imagenet', or the path of a .weights.h5 file"
    if not isinstance(weights, (str, os.PathLike)):
        raise TypeError(f"{expected}. Received: {weights!r}")
    path = user_path(weights)
    if path.suffix == ".keras":
        raise ValueError(
            f"{expected}. {path} is a whole model: keras.models.load_model({str(path)!r}) loads it."
        )
    if not path.name.endswith(".weights.h5"):
        raise ValueError(f"{expected}. Received: {str(path)!r}")
    if not path.is_file():
        raise ValueError(f"{expected}. There is no file {path}.")
    return path


def _checked_pooling(pooling: str | None, include_top: bool) -> str | None:
    """Return the pooling of a model without a classifier."""
    if pooling not in (None, "avg", "max"):
        raise ValueError(f"pooling must be None, 'avg' or 'max'. Received: {pooling!r}")
    if pooling is not None and include_top:
        raise ValueError(
            "pooling is for models without a classifier: the classifier brings its own average "
            f"pooling. Set include_top=False, or leave pooling out. Received: {pooling!r}"
        )
    return pooling


def _checked_activation(activation: Activation) -> Activation:
    """Return an activation that Keras knows."""
    try:
        keras.activations.get(activation)
    except (TypeError, ValueError):
        raise ValueError(
            "classifier_activation must be the name of a Keras activation, a function, or None for "
            f"logits. Received: {activation!r}"
        ) from None
    return activation


def _checked_output_stride(
    output_stride: int | None, shape: tuple[int | None, int | None, int]
) -> int:
    """Return the output stride, chosen by the smaller side of the image if it is None."""
    if output_stride is None:
        smaller = min((size for size in shape[:2] if size is not None), default=None)
        if smaller is None or smaller >= 96:
            return 32
        return 16 if smaller >= 48 else 8
    if not is_whole(output_stride) or output_stride not in OUTPUT_STRIDES:
        raise ValueError(
            "output_stride must be 8, 16, 32, or None to choose by the image's size. "
            f"Received: {output_stride!r}"
        )
    return int(output_stride)


def _checked_preprocessing(
    preprocessing: Normalization | None, channels: int
) -> Normalization | None:
    """Return a normalization that fits the number of channels."""
    if preprocessing is None:
        return None
    if not isinstance(preprocessing, Normalization):
        raise TypeError(
            "preprocessing must be a keras_dlcourse.data.Normalization or None. "
            f"Received: {preprocessing!r}"
        )
    values = max(len(preprocessing.mean), len(preprocessing.std))
    if values not in (1, channels):
        raise ValueError(
            f"preprocessing has {values} values per image, but input_shape has {channels} "
            "channel(s). Give one value for all channels, or one for each."
        )
    return preprocessing
