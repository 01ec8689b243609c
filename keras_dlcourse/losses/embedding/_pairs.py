"""Which rows of a batch have the same class: shared by all losses of labels and embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras import ops

from keras_dlcourse import backend
from keras_dlcourse._checks import check_flag
from keras_dlcourse.losses import _checks
from keras_dlcourse.losses._base import MeanOverTerms

_ROWS_AT_MOST = 2**24  # per replica, so that row numbers of different replicas never collide


@dataclass(frozen=True)
class Pairs:
    """The rows of this replica paired with the rows of the whole batch, over all replicas.

    Attributes:
        anchors: Embeddings `(n, dimensions)` of the rows of this replica.
        others: Embeddings `(m, dimensions)` of all rows; without replicas, those of `anchors`.
        positive: `(n, m)`, whether two rows have the same class; a row is not its own positive.
        negative: `(n, m)`, whether two rows have different classes.
    """

    anchors: Any
    others: Any
    positive: Any
    negative: Any


class PairLoss(MeanOverTerms):
    """A loss of integer labels and embeddings; subclasses define `of_pairs`.

    Labels are compared as integers. Masked rows are neither anchors nor positives nor negatives.
    With `gather`, embeddings and labels of all replicas form one batch.
    """

    def __init__(self, gather: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gather = check_flag("gather", gather)

    def terms(self, y_true: Any, y_pred: Any, mask: Any) -> tuple[Any, Any]:
        """Return the sum and the number of each row's terms."""
        return self.of_pairs(self._pairs(y_true, y_pred, mask))

    def of_pairs(self, pairs: Pairs) -> tuple[Any, Any]:
        """Return the sum and the number of each anchor's terms, both `(n,)`."""
        raise NotImplementedError(f"{type(self).__name__} must define of_pairs")

    def prepare_embeddings(self, embeddings: Any) -> Any:
        """Return embeddings as the distances use them: scaled to length 1 for cosines."""
        raise NotImplementedError(f"{type(self).__name__} must define prepare_embeddings")

    def _pairs(self, y_true: Any, y_pred: Any, mask: Any) -> Pairs:
        meaning = "embeddings of shape (rows, dimensions)"
        anchors = _checks.check_rows(y_pred, mask, (2,), meaning, self._computed_in)
        labels = _checks.check_labels(y_true, anchors.shape[0], "embeddings")
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
        """Return the arguments that re-create this loss."""
        return {**super().get_config(), "gather": self.gather}


def _equal(rows: Any, columns: Any) -> Any:
    return ops.equal(ops.expand_dims(rows, 1), ops.expand_dims(columns, 0))
