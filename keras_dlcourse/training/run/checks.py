"""Checks of the data of a run, before anything is built or written."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_dlcourse.data import Dataset


def check_dataset(data: Any) -> None:
    """Raise an error if a classifier cannot be trained on a data set.

    Args:
        data: The value passed as `data`.

    Raises:
        TypeError: If it is not a `kd.data.Dataset`.
        ValueError: If it has fewer than two classes, or a part without one integer label per image.

    Example:
        >>> check_dataset([1, 2])
        Traceback (most recent call last):
        ...
        TypeError: data must be a kd.data.Dataset, e.g. from kd.data.image_folder. Received: list
    """
    if not isinstance(data, Dataset):
        raise TypeError(
            "data must be a kd.data.Dataset, e.g. from kd.data.image_folder. "
            f"Received: {type(data).__name__}"
        )
    if len(data.class_names) < 2:
        raise ValueError(
            f"data must have at least two classes. Received: one class, {data.class_names[0]!r}"
        )
    for part in ("train", "validation", "test"):
        labels = getattr(data, part).y
        if not isinstance(labels, np.ndarray) or labels.ndim != 1 or labels.dtype.kind != "i":
            is_array = isinstance(labels, np.ndarray)
            found = f"{labels.dtype} of shape {labels.shape}" if is_array else labels or "none"
            raise ValueError(
                f"data.{part} must have one integer label per image. Received: {found}"
            )
