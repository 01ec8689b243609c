"""Where the normalization and the labels of a file come from: said, carried, or recorded."""

from __future__ import annotations

from typing import Any

from keras_dlcourse.data import Examples
from keras_dlcourse.edge.labels import ordered_labels
from keras_dlcourse.edge.normalization import Normalization
from keras_dlcourse.layers import ImageDescription


def find_normalization(
    preprocessing: Normalization | None,
    examples: Examples | None,
    recorded: ImageDescription | None,
    shape: tuple[int, ...],
) -> tuple[Normalization | None, str]:
    """Return what pixels go through before the model, and where that was taken from.

    Raises:
        TypeError: If `preprocessing` is not a normalization.
        ValueError: If it is for another number of channels.
    """
    if preprocessing is not None and not isinstance(preprocessing, Normalization):
        raise TypeError(
            "preprocessing must be a kd.data.Normalization; received "
            f"{type(preprocessing).__name__}"
        )
    places = (
        ("preprocessing", preprocessing),
        ("calibration", None if examples is None else examples.normalization),
        ("model", None if recorded is None else recorded.normalization),
    )
    for source, normalization in places:
        if normalization is None:
            continue
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
        return normalization, source
    return None, "identity"


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
