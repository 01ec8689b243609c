"""Find the normalization and labels of a file: from arguments, data, model records or the graph."""

from __future__ import annotations

from typing import Any

import keras

from keras_dlcourse.data import Examples
from keras_dlcourse.edge.description.labels import order_labels
from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.export.conversion.device_model import is_image_shape
from keras_dlcourse.export.conversion.entrance import takes_pixels
from keras_dlcourse.layers import ImageDescription


def find_normalization(
    model: keras.Model,
    preprocessing: Normalization | None,
    examples: Examples | None,
    recorded: ImageDescription | None,
    shape: tuple[int, ...],
    number: int = 0,
) -> tuple[Normalization | None, str | None]:
    """Return the normalization applied to pixels before the model, and where it was found.

    Args:
        model: A Keras model.
        preprocessing: The normalization that was given, if any.
        examples: Examples of the data, which may carry one.
        recorded: What the model records, if anything.
        shape: The shape of the input, without the batch.
        number: The index of the input in the model.

    Returns:
        The normalization and `"preprocessing"`, `"calibration"`, `"model"` or `"graph"`; `(None,
        None)` for a model that does not take images.

    Raises:
        TypeError: If `preprocessing` is not a normalization.
        ValueError: If the normalization does not fit the input, calibration and model contradict
            each other, or the normalization of an image model is unknown.
    """
    if preprocessing is not None and not isinstance(preprocessing, Normalization):
        raise TypeError(
            "preprocessing must be a kd.data.Normalization. Received: "
            f"{type(preprocessing).__name__}"
        )
    carried = None if examples is None else examples.normalization
    known = None if recorded is None else recorded.normalization
    if preprocessing is None and carried and known and carried.simplify() != known.simplify():
        raise ValueError(
            f"the calibration data was normalized with {_format_normalization(carried)}, but "
            f"model {model.name!r} records {_format_normalization(known)}. Pass data normalized as "
            "in the model's training, or the correct normalization as preprocessing="
        )
    places = (("preprocessing", preprocessing), ("calibration", carried), ("model", known))
    for source, normalization in places:
        if normalization == Normalization.identity() and len(shape) not in (2, 3):
            continue  # the input is not pixels, and nothing is done to it
        if normalization is not None:
            _check_fits(normalization, source, shape)
            return normalization, source
    if not is_image_shape(shape):
        return None, None
    is_raw, but = takes_pixels(model, number)
    if is_raw:
        return Normalization.identity(), "graph"
    raise ValueError(
        f"model {model.name!r} does not record how its pixels were normalized in training, so its "
        f"file cannot tell a device. {but}Pass one of: preprocessing=kd.data.Normalization(mean, "
        "std), in units of pixels from 0 to 255, e.g. Normalization(0, 255) for images divided by "
        "255 and Normalization(127.5, 127.5) for -1 to 1; calibration=, a kd.data pipeline that "
        "carries it; or preprocessing=kd.data.Normalization.identity() if the model takes raw "
        "pixels from 0 to 255"
    )


def _check_fits(normalization: Normalization, source: str, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless the normalization fits inputs of the given shape."""
    if len(normalization.mean) not in (1, shape[-1]):
        raise ValueError(
            f"the normalization (from {source}) has {len(normalization.mean)} channels, but "
            f"the model takes inputs of shape {shape}"
        )
    if len(shape) != 3 and not normalization.is_scalar:
        raise ValueError(
            f"the normalization (from {source}) is per channel, which is for images, but the model "
            f"takes inputs of shape {shape}"
        )
    if len(shape) not in (2, 3):  # a gray image may lack its channel axis
        raise ValueError(
            f"the normalization (from {source}) is for the pixels of images, but the model takes "
            f"inputs of shape {shape}. Omit it"
        )


def _format_normalization(normalization: Normalization) -> str:
    return f"mean {normalization.mean} and standard deviation {normalization.std}"


def find_labels(
    labels: Any,
    recorded: ImageDescription | None,
    examples: Examples | None,
    width: int,
) -> tuple[str, ...] | None:
    """Return the class names that were given, else recorded in the model, else carried by the data.

    Raises:
        TypeError: If the given names have no order, see `order_labels`.
        ValueError: If their number differs from the number of outputs, or a name is empty or has a
            line break.
    """
    names = labels
    if names is None and recorded is not None:
        names = recorded.class_names
    if names is None and examples is not None:
        names = examples.class_names
    if names is None:
        return None
    names = order_labels(names)
    if len(names) != width:
        raise ValueError(f"there are {len(names)} labels, but the model has {width} outputs")
    for name in names:
        if not name or "\n" in name or "\r" in name:
            raise ValueError(
                "labels must not be empty or have line breaks, as they go into a text file. "
                f"Received: {name!r}"
            )
    return names
