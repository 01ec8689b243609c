"""Where a file's normalization and labels come from: said, carried, recorded, or in the graph."""

from __future__ import annotations

from typing import Any

import keras

from keras_dlcourse.data import Examples
from keras_dlcourse.edge.description.labels import ordered_labels
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
) -> tuple[Normalization | None, str | None]:
    """Return what pixels go through before the model, and where that was taken from.

    Returns:
        The normalization and `"preprocessing"`, `"calibration"`, `"model"` or `"graph"`; `(None,
        None)` for a model that takes no images.

    Raises:
        TypeError: If `preprocessing` is not a normalization.
        ValueError: If it does not fit the input, calibration and model contradict each other, or an
            image model's is not known.
    """
    if preprocessing is not None and not isinstance(preprocessing, Normalization):
        raise TypeError(
            "preprocessing must be a kd.data.Normalization; received "
            f"{type(preprocessing).__name__}"
        )
    carried = None if examples is None else examples.normalization
    known = None if recorded is None else recorded.normalization
    if preprocessing is None and carried and known and carried != known:
        raise ValueError(
            f"the calibration data went through {_words(carried)}, but model {model.name!r} "
            f"records {_words(known)}: pass data that is normalized as the model was trained, or "
            "preprocessing= with the right one"
        )
    places = (("preprocessing", preprocessing), ("calibration", carried), ("model", known))
    for source, normalization in places:
        if normalization == Normalization.identity() and len(shape) not in (2, 3):
            continue  # nothing is done to what are no pixels
        if normalization is not None:
            _check_fits(normalization, source, shape)
            return normalization, source
    if not is_image_shape(shape):
        return None, None
    is_raw, but = takes_pixels(model)
    if is_raw:
        return Normalization.identity(), "graph"
    raise ValueError(
        f"model {model.name!r} does not say what its pixels went through in training, so its file "
        f"cannot tell a device. {but}Pass one of: preprocessing=kd.data.Normalization(mean, std), "
        "in units of pixels from 0 to 255, e.g. Normalization(0, 255) for images divided by 255 "
        "and Normalization(127.5, 127.5) for -1 to 1; calibration=, a kd.data pipeline that "
        "carries it; or preprocessing=kd.data.Normalization.identity() if the model takes raw "
        "pixels from 0 to 255"
    )


def _check_fits(normalization: Normalization, source: str, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless a model of inputs of that shape can have this normalization."""
    if len(normalization.mean) not in (1, shape[-1]):
        raise ValueError(
            f"the normalization (from {source}) has {len(normalization.mean)} channels, but "
            f"the model takes {shape}"
        )
    if len(shape) != 3 and not normalization.is_scalar:
        raise ValueError(
            f"the normalization (from {source}) is per channel, which is for images; the model "
            f"takes {shape}"
        )
    if len(shape) not in (2, 3):  # a grey image may come without its axis of channels
        raise ValueError(
            f"the normalization (from {source}) is for the pixels of images, but the model takes "
            f"{shape}: omit it"
        )


def _words(normalization: Normalization) -> str:
    return f"mean {normalization.mean} and standard deviation {normalization.std}"


def find_labels(
    labels: Any,
    recorded: ImageDescription | None,
    examples: Examples | None,
    width: int,
) -> tuple[str, ...] | None:
    """Return the class names as given, as recorded in the model, or as carried by the data.

    Raises:
        TypeError: If the names given have no order, see `ordered_labels`.
        ValueError: If their number is not that of the outputs, or one cannot stand in a line.
    """
    names = labels
    if names is None and recorded is not None:
        names = recorded.class_names
    if names is None and examples is not None:
        names = examples.class_names
    if names is None:
        return None
    names = ordered_labels(names)
    if len(names) != width:
        raise ValueError(f"there are {len(names)} labels, but the model has {width} outputs")
    for name in names:
        if not name or "\n" in name or "\r" in name:
            raise ValueError(
                f"label {name!r} is empty or has a line break; it goes into a text file"
            )
    return names
