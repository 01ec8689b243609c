"""Masks as labels: the class of each pixel, and how much of each class there is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_dlcourse._checks import check_integer

IGNORE = 255  # the value of pixels that have no label: losses and metrics leave them out
_AT_A_TIME = 64  # masks read at a time


def is_masks(y: Any) -> bool:
    """Return whether labels are masks: class numbers `(n, height, width)`."""
    return len(getattr(y, "shape", ())) == 3 and y.dtype.kind in "iub"


def count_pixels(masks: Any) -> NDArray[np.int64]:
    """Return how many pixels of each mask have each value, `(n, 256)`.

    Args:
        masks: Class numbers `(n, height, width)`, an array or masks that are read on access.

    Raises:
        ValueError: If a value is below 0 or above 255.
    """
    counts = np.zeros((len(masks), IGNORE + 1), np.int64)
    for start in range(0, len(masks), _AT_A_TIME):
        for number, mask in enumerate(masks[start : start + _AT_A_TIME], start):
            low, high = int(mask.min()), int(mask.max())
            if low < 0 or high > IGNORE:
                raise ValueError(
                    f"masks must be class numbers from 0 to {IGNORE - 1}, or {IGNORE} for pixels "
                    f"without a label. Received: {low if low < 0 else high} in mask {number}"
                )
            counts[number] = np.bincount(mask.ravel(), minlength=IGNORE + 1)
    return counts


def class_shares(masks: Any, classes: int | None = None) -> NDArray[np.float64]:
    """Return the share of each class in the pixels that have a label.

    A rare class can be given more weight in the loss, such as `1 / shares`, or shown more often
    with `kd.data.ClassCrops`.

    Args:
        masks: Class numbers `(n, height, width)`, where 255 marks pixels without a label, or a
            `Pipeline` of images and masks.
        classes: Number of classes. None takes that of the pipeline, or the largest class number and
            one.

    Returns:
        `(classes,)`, which sum to 1.

    Raises:
        TypeError: If `masks` are not of an integer type.
        ValueError: If their shape or a value is not allowed, or no pixel has a label.

    Example:
        >>> class_shares(np.array([[[0, 0, 1, 255]], [[0, 0, 0, 0]]], "uint8")).round(3).tolist()
        [0.857, 0.143]
    """
    names = getattr(masks, "class_names", None)
    if hasattr(masks, "y"):
        masks = masks.y
    elif not hasattr(masks, "shape"):
        masks = np.asarray(masks)
    check_masks("masks", masks)
    total = count_pixels(masks).sum(axis=0)[:IGNORE]
    if not total.any():
        raise ValueError(f"masks must have pixels with a label. Received: only {IGNORE}")
    last = int(np.flatnonzero(total)[-1])
    if classes is None:
        classes = last + 1 if names is None else len(names)
    elif check_integer("classes", classes, least=2, most=IGNORE) <= last:
        raise ValueError(
            f"classes must be the number of classes, above {last}, which is in the masks. "
            f"Received: {classes}"
        )
    return np.asarray(total[:classes] / total.sum())


def check_masks(name: str, masks: Any) -> None:
    """Raise an error unless labels have the shape and the type of masks."""
    shape: tuple[int, ...] = tuple(getattr(masks, "shape", ()))
    kind = getattr(getattr(masks, "dtype", None), "kind", "")
    if len(shape) != 3:
        hint = ""
        if len(shape) == 4:
            hint = (
                ". Remove the channel axis with masks[..., 0]"
                if shape[-1] == 1
                else ". Convert one-hot masks to class numbers with masks.argmax(-1)"
            )
        raise ValueError(
            f"{name} must be masks of class numbers, (n, height, width). Received: shape "
            f"{shape}{hint}"
        )
    if kind not in "iub":
        raise TypeError(
            f"{name} must be masks of whole class numbers. Received: {masks.dtype}. Convert them "
            f"with {name}.astype('uint8') if all their values are whole."
        )
