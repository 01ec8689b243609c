"""Which rows of a batch are of the same class: what all losses of labels and embeddings share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras import ops

from keras_dlcourse import backend
from keras_dlcourse.losses import _checks
from keras_dlcourse.losses._base import MeanOverTerms

_ROWS_AT_MOST = 2**24  # in a replica's batch, so that numbers of rows do not meet


@dataclass(frozen=True)
class Pairs:
    """Rows of a batch beside the rows of the whole batch, over all replicas.

    Attributes:
        anchors: Embeddings `(n, dimensions)` of the rows of this replica.
        others: Embeddings `(m, dimensions)` of all rows; without replicas, those of `anchors`.
        positive: `(n, m)`, whether two rows are of one class; a row is no positive of itself.
        negative: `(n, m)`, whether two rows are of different classes.
    """

    anchors: Any
    others: Any
    positive: Any
    negative: Any


class PairLoss(MeanOverTerms):
    """A loss of integer labels and embeddings; subclasses define `of_pairs`.

    Labels are compared as the integers that they are. Masked rows are no anchors, no positives and
    no negatives. With `gather`, embeddings and labels of all replicas are one batch.
    """

    def __init__(self, gather: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gather = _checks.flag("gather", gather)

    def terms(self, y_true: Any, y_pred: Any, mask: Any) -> tuple[Any, Any]:
        """Return the sum of each row's terms and their number."""
        return self.of_pairs(self._pairs(y_true, y_pred, mask))

    def of_pairs(self, pairs: Pairs) -> tuple[Any, Any]:
        """Return the sum of each anchor's terms and their number, both `(n,)`."""
        raise NotImplementedError(f"{type(self).__name__} must define of_pairs")

    def compared(self, embeddings: Any) -> Any:
        """Return embeddings as their distances see them: scaled to length 1 for cosines."""
        raise NotImplementedError(f"{type(self).__name__} must define compared")

    def _pairs(self, y_true: Any, y_pred: Any, mask: Any) -> Pairs:
        meaning = "embeddings of shape (rows, dimensions)"
        anchors = _checks.rows(y_pred, mask, (2,), meaning, self._computed_in)
        labels = _checks.labels(y_true, anchors.shape[0], "embeddings")
        index, replicas = backend.replica()
        numbers = ops.arange(ops.shape(anchors)[0], dtype="int32")
        there = [anchors, labels, numbers, mask]
        if self.gather and replicas > 1:
            there[2] = numbers = numbers + index * _ROWS_AT_MOST
            there = [None if x is None else backend.gathered(x) for x in there]
        others, all_labels, all_numbers, all_mask = there
        same = _equal(labels, all_labels)
        positive = ops.logical_and(same, ops.logical_not(_equal(numbers, all_numbers)))
        negative = ops.logical_not(same)
        if mask is not None:
            both = ops.logical_and(ops.expand_dims(mask, 1), ops.expand_dims(all_mask, 0))
            positive, negative = ops.logical_and(positive, both), ops.logical_and(negative, both)
        return Pairs(anchors, others, positive, negative)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this loss again."""
        return {**super().get_config(), "gather": self.gather}


def _equal(rows: Any, columns: Any) -> Any:
    return ops.equal(ops.expand_dims(rows, 1), ops.expand_dims(columns, 0))
