"""Checks of loss arguments and inputs: each returns the converted value or raises an error."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse import backend
from keras_dlcourse._checks import check_one_of as check_one_of

_WHOLE = {"bool": "int32", "int64": "int64", "uint32": "int64", "uint64": "int64"}


def check_labels(y_true: Any, rows: int | None, of: str) -> Any:
    """Return integer labels `(rows,)`, without any cast to float.

    Args:
        y_true: Labels `(rows,)` or `(rows, 1)`.
        rows: Expected number of labels; None if unknown.
        of: What the rows are, for the error message.
    """
    y_true = ops.convert_to_tensor(np.asarray(y_true) if _is_list(y_true) else y_true)
    dtype = keras.backend.standardize_dtype(y_true.dtype)
    shape = tuple(y_true.shape)
    if len(shape) == 2 and shape[1] == 1:
        y_true = ops.squeeze(y_true, axis=1)
    elif len(shape) != 1:
        hint = " Use class numbers; convert one-hot rows with argmax(1)." * (len(shape) == 2)
        raise ValueError(f"y_true must be labels of shape (rows,). Received: {shape}.{hint}")
    if not (dtype == "bool" or "int" in dtype) and not backend.is_between_replicas():
        raise TypeError(
            f"y_true must be integer labels. Received: {dtype}. Number the classes with "
            "numpy.unique(y, return_inverse=True)[1], or cast integral values with astype('int32')."
        )
    if rows is not None and shape[0] is not None and shape[0] != rows:
        raise ValueError(f"y_true has {shape[0]} labels for {rows} {of}.")
    return ops.cast(y_true, _WHOLE.get(dtype, "int32"))


def check_rows(y_pred: Any, mask: Any, ranks: tuple[int, ...], meaning: str, dtype: str) -> Any:
    """Return the model outputs of some rows as a tensor of `dtype`; masked rows are 0.

    Args:
        y_pred: A tensor of one of the `ranks`.
        mask: Which rows count, `(rows,)`; the others may be NaN. None if all rows count.
        ranks: Allowed numbers of axes.
        meaning: What `y_pred` must be, with its shape, for error messages.
        dtype: Dtype to compute in.
    """
    y_pred = ops.convert_to_tensor(np.asarray(y_pred) if _is_list(y_pred) else y_pred)
    if len(y_pred.shape) not in ranks:
        raise ValueError(f"y_pred must be {meaning}. Received: {tuple(y_pred.shape)}")
    y_pred = ops.cast(y_pred, dtype)
    if mask is not None:
        y_pred = ops.where(ops.reshape(mask, (-1, *(1 for _ in y_pred.shape[1:]))), y_pred, 0.0)
    if backend.is_known(y_pred) and 0 not in y_pred.shape:
        finite = ops.isfinite(y_pred)
        finite = ops.all(ops.reshape(finite, (y_pred.shape[0], -1)), axis=1)
        wrong = np.flatnonzero(~ops.convert_to_numpy(finite))
        if wrong.size:
            raise ValueError(
                f"y_pred has NaN or infinite values in {wrong.size} of {len(y_pred)} rows, first "
                f"in row {wrong[0]}. Training has diverged (try a lower learning rate), or the "
                "inputs contain NaN or infinite values."
            )
    return y_pred


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple | np.generic | int | float)
