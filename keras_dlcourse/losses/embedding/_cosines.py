"""Checks of cosines between rows and classes, and of labels that are column indices."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from keras_dlcourse import backend
from keras_dlcourse.losses import _checks

_ROUNDING = 0.01  # rounding error of cosines in float16 and bfloat16


def cosines(y_pred: Any, mask: Any, dtype: str) -> Any:
    """Return cosines `(rows, classes)`, 0 where masked; raise ValueError for other values."""
    meaning = "cosines of shape (rows, classes), as kd.layers.CosineDense returns them"
    found = _checks.check_rows(y_pred, mask, (2,), meaning, dtype)
    if backend.is_known(found) and 0 not in found.shape:
        largest = float(ops.convert_to_numpy(ops.max(ops.abs(found))))
        if largest > 1 + _ROUNDING:
            raise ValueError(
                f"y_pred must be {meaning}, from -1 to 1. Received: a value of size {largest:.4g}. "
                "End the model with that layer, without an activation."
            )
    return ops.clip(found, -1.0, 1.0)


def members(y_true: Any, mask: Any, found: Any) -> tuple[Any, Any]:
    """Return the class of each row as one-hot bools, `(rows, classes)`, and whether it exists.

    Masked rows get class 0, whatever their label.

    Raises:
        ValueError: If labels are not class numbers (in eager execution only).
    """
    labels = _checks.check_labels(y_true, found.shape[0], "rows of cosines")
    if mask is not None:
        labels = ops.where(mask, labels, 0)
    classes = int(found.shape[1])
    within = ops.logical_and(labels >= 0, labels < classes)
    if backend.is_known(labels):
        outside = np.flatnonzero(~ops.convert_to_numpy(within))
        if outside.size:
            raise ValueError(
                f"y_true must be class numbers 0..{classes - 1}, column indices of y_pred. "
                f"Received: {int(labels[int(outside[0])])} in row {outside[0]}."
            )
    columns = ops.arange(classes, dtype=labels.dtype)
    return ops.equal(ops.expand_dims(labels, 1), ops.expand_dims(columns, 0)), within
