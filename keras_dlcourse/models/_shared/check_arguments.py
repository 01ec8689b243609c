"""Validation of the arguments shared by all families, before anything is built."""

from __future__ import annotations

import numbers
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import keras

from keras_dlcourse._checks import (
    check_fraction,
    check_integer,
    check_number,
    check_one_of,
    is_whole,
)
from keras_dlcourse._files import user_path
from keras_dlcourse.edge.description.labels import check_class_names
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
"""Minimum height and width of images, in pixels: the size of MNIST and similar data sets."""


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
    """Validate the shared arguments, individually and against each other.

    Args:
        imagenet: The available official weights, if any.
        input_shape: Shape of an image.
        alpha: See `Options`.
        include_top: See `Options`.
        weights: See `Options`.
        pooling: See `Options`.
        classes: See `Options`.
        classifier_activation: See `Options`.
        dropout: See `Options`.
        output_stride: See `Options`.
        bn_momentum: See `Options`.
        preprocessing: See `Options`.

    Raises:
        TypeError: If `classes` is neither a number nor a sequence of names, or `preprocessing` is
            not a Normalization.
        ValueError: If an argument is out of range or contradicts another.
    """
    shape = _check_shape(input_shape)
    number, names = _check_classes(classes)
    if names is not None and not include_top:
        raise ValueError(
            "classes must not be names if include_top=False, because a model without a classifier "
            "has no classes to name. Omit classes, or set include_top=True."
        )
    arguments = Arguments(
        input_shape=shape,
        alpha=check_number("alpha", alpha, above=0),
        include_top=include_top,
        weights=_check_weights(weights),
        pooling=_check_pooling(pooling, include_top),
        classes=number,
        class_names=names,
        classifier_activation=_check_activation(classifier_activation),
        dropout=check_fraction("dropout", dropout),
        output_stride=_check_output_stride(output_stride, shape),
        bn_momentum=check_fraction("bn_momentum", bn_momentum),
        preprocessing=_check_preprocessing(preprocessing, shape[2]),
    )
    if weights == "imagenet":
        if imagenet is None:
            raise ValueError(
                "weights='imagenet' is not available for this network. Omit weights, or pass the "
                "path of a .weights.h5 file."
            )
        imagenet.check(arguments)
        arguments = replace(arguments, preprocessing=imagenet.preprocessing)
    return arguments


def check_one_size(arguments: Arguments, network: str, way_out: str = "") -> None:
    """Raise ValueError if a network with a dense classifier has an open input size."""
    if arguments.include_top and None in arguments.input_shape:
        raise ValueError(
            f"input_shape must have a fixed height and width, because {network} has dense layers. "
            f"Received: input_shape={arguments.input_shape}. Set height and width{way_out}."
        )


def _check_shape(input_shape: Sequence[int | None]) -> tuple[int | None, int | None, int]:
    """Return (height, width, channels), validated."""
    try:
        height, width, channels = input_shape
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"input_shape must be (height, width, channels). Received: {input_shape!r}"
        ) from None
    for size in (height, width):
        if size is not None and not (is_whole(size) and size >= SMALLEST_INPUT):
            raise (ValueError if is_whole(size) else TypeError)(
                f"input_shape must have a height and width of at least {SMALLEST_INPUT} pixels (or "
                f"None for any). Received: {tuple(input_shape)}. Resize smaller images first."
            )
    if not (is_whole(channels) and channels in (1, 3)):
        raise ValueError(
            "input_shape must end in 1 channel (gray) or 3 channels (RGB), as in (96, 96, 3). "
            f"Received: {tuple(input_shape)}"
        )
    return (
        None if height is None else int(height),
        None if width is None else int(width),
        int(channels),
    )


def _check_classes(classes: Classes) -> tuple[int, tuple[str, ...] | None]:
    """Return the number of classes and their names, if there are any."""
    if isinstance(classes, numbers.Number):
        return check_integer("classes", classes), None
    if not hasattr(classes, "__len__") or isinstance(classes, (int, str)):
        raise TypeError(
            "classes must be a number, or a sequence of names such as ['cat', 'dog']. "
            f"Received: {classes!r}"
        )
    names = check_class_names(classes, "classes")
    return len(names), names


def _check_weights(weights: Weights) -> Path | str | None:
    """Return None, "imagenet" or the path of an existing file of weights."""
    if weights is None or weights == "imagenet":
        return None if weights is None else "imagenet"
    expected = "weights must be None, 'imagenet', or the path of a .weights.h5 file"
    if not isinstance(weights, (str, os.PathLike)):
        raise TypeError(f"{expected}. Received: {weights!r}")
    path = user_path(weights)
    if path.suffix == ".keras":
        raise ValueError(
            f"{expected}. {path} is a whole model. Load it with "
            f"keras.models.load_model({str(path)!r})."
        )
    if not path.name.endswith(".weights.h5"):
        raise ValueError(f"{expected}. Received: {str(path)!r}")
    if not path.is_file():
        raise ValueError(f"{expected}. The file {path} does not exist.")
    return path


def _check_pooling(pooling: str | None, include_top: bool) -> str | None:
    """Return the pooling of a model without a classifier."""
    check_one_of("pooling", pooling, (None, "avg", "max"))
    if pooling is not None and include_top:
        raise ValueError(
            "pooling must be None if include_top=True, because the classifier brings its own "
            f"average pooling. Received: {pooling!r}. Set include_top=False, or omit pooling."
        )
    return pooling


def _check_activation(activation: Activation) -> Activation:
    """Return an activation that Keras knows."""
    try:
        keras.activations.get(activation)
    except (TypeError, ValueError):
        raise ValueError(
            "classifier_activation must be the name of a Keras activation, a function, or None for "
            f"logits. Received: {activation!r}"
        ) from None
    return activation


def _check_output_stride(
    output_stride: int | None, shape: tuple[int | None, int | None, int]
) -> int:
    """Return the output stride, chosen by the smaller side of the image if it is None."""
    if output_stride is None:
        smaller = min((size for size in shape[:2] if size is not None), default=None)
        if smaller is None or smaller >= 96:
            return 32
        return 16 if smaller >= 48 else 8
    why = ". None chooses it by the image size."
    return int(check_one_of("output_stride", output_stride, (*OUTPUT_STRIDES, None), why))


def _check_preprocessing(
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
            "channel(s). Pass one value for all channels, or one per channel."
        )
    return preprocessing
