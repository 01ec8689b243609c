"""The mean over the terms of a batch (pairs, triplets, ...), given to Keras as one value per row.

Keras reduces a loss over rows: it multiplies their values by `sample_weight` and divides the sum by
the number of rows. A loss of pairs or triplets is a mean over those, and a row can have many or
none. So the value of row i is

    value_i = sum of the terms of row i * rows / terms in the whole batch

The mean of these values over the rows is the mean over the terms. `reduction` and `sample_weight`
then work as in every Keras loss.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.src.backend import get_keras_mask

from keras_dlcourse import backend


class MeanOverTerms(keras.losses.Loss):
    """A loss that is a mean over terms; subclasses return each row's sum and count from `terms`.

    Labels reach `terms` unchanged: Keras would cast them to the dtype of the loss, in which 256
    and 257 (bfloat16) or 2**24 and 2**24 + 1 (float32) are the same value.
    """

    def __init__(self, name: str | None, reduction: str | None, dtype: Any) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        # Counts of triplets overflow float16: compute in at least float32, whatever the dtype.
        self._computed_in = "float64" if self.dtype == "float64" else "float32"
        self._reduced = _Given(name=self.name, reduction=reduction, dtype=dtype)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Return the loss, reduced as `reduction` says.

        Args:
            y_true: Ground truth of each row; see the class.
            y_pred: Model output for each row. Rows masked by Keras are ignored entirely.
            sample_weight: Weight of each row's value, `(rows,)` or `(rows, 1)`.
        """
        with keras.name_scope(self.name):
            values = self.call(y_true, y_pred, mask_of(y_pred))
            return self._reduced(values, values, sample_weight)

    def call(self, y_true: Any, y_pred: Any, mask: Any = None) -> Any:
        """Return the value of each row, `(rows,)`."""
        return ops.cast(self._spread(*self.terms(y_true, y_pred, mask)), self.dtype)

    def terms(self, y_true: Any, y_pred: Any, mask: Any) -> tuple[Any, Any]:
        """Return the sum and the number of each row's terms, both `(rows,)`."""
        raise NotImplementedError(f"{type(self).__name__} must define terms")

    def _spread(self, totals: Any, counts: Any) -> Any:
        """Scale sums so that their mean over the rows of all replicas is the mean over terms."""
        count = self._sum_over_replicas(ops.reshape(ops.sum(counts), (1,)))
        rows = ops.cast(ops.shape(totals)[0] * self._replicas(), totals.dtype)
        return totals * (rows / ops.maximum(ops.stop_gradient(count), 1.0))

    def _sum_over_replicas(self, total: Any) -> Any:
        return ops.sum(backend.gathered(total)) if self._replicas() > 1 else ops.sum(total)

    def _replicas(self) -> int:
        """Return the number of replicas whose rows count as one batch."""
        return backend.replica()[1] if getattr(self, "gather", True) else 1

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this loss."""
        return {**super().get_config(), "dtype": self.dtype}


class _Given(keras.losses.Loss):
    """Keras's own reduction of values that are already computed."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return `y_pred`."""
        return y_pred


def mask_of(y_pred: Any) -> Any:
    """Return which rows of a model's output count, `(rows,)` bool, or None if all do."""
    # Keras has no public API for this. On JAX, tensors in compiled code cannot carry a mask.
    mask = get_keras_mask(y_pred)
    if mask is not None and len(mask.shape) != 1:
        raise ValueError(
            "the mask of an embedding loss must have one entry for each row. Received: a mask of "
            f"shape {tuple(mask.shape)}. Pool over the masked axis before the output."
        )
    return None if mask is None else ops.cast(mask, "bool")
