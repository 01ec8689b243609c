"""Contrastive loss of pairs, as used to train Siamese networks."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse import backend
from keras_dlcourse._checks import check_flag, check_number, check_one_of
from keras_dlcourse.losses import _checks
from keras_dlcourse.losses._base import MeanOverTerms
from keras_dlcourse.losses.embedding import _distances

_MEANING = "distances (pairs,) or (pairs, 1), or embeddings of both (pairs, 2, dimensions)"


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class ContrastiveLoss(MeanOverTerms):
    """Contrastive loss: pull same pairs together, push different pairs apart up to a margin.

        loss = mean over pairs of  d / 2                   if they are the same
                                   max(0, margin - d) / 2  if they are different

    where d is the Euclidean distance. `squared=True` squares `d` and `max(0, margin - d)`, as in
    Hadsell et al. The gradient flows through the distance to both embeddings; it is 0 where the
    distance is 0 and for different pairs beyond the margin.

    Args:
        margin: Distance beyond which different pairs have no loss.
        squared: Whether to square both terms.
        different: The label of a pair of different items: 1 in the paper. Some libraries use 1 for
            "same"; their labels need 0 here.
        reduction: As for every Keras loss.
        name: Name of the loss.
        dtype: Dtype of the result. The computation uses at least float32.

    Call arguments:
        y_true: Integer labels 0 and 1, `(pairs,)` or `(pairs, 1)`.
        y_pred: Distances `(pairs,)` or `(pairs, 1)`, not squared; or both embeddings, as a tuple of
            two `(pairs, dimensions)` tensors or one tensor `(pairs, 2, dimensions)`.
        sample_weight: Weight of each pair's loss.

    Raises:
        ValueError: If an argument is out of range, or an input has an unsupported shape or value.
        TypeError: If the labels are not integers.

    Example:
        >>> import numpy as np
        >>> distances, different = np.array([0.2, 0.2, 2.0]), np.array([0, 1, 1])
        >>> round(float(ContrastiveLoss(margin=1.0)(different, distances)), 4)  # (0.1 + 0.4 + 0)/3
        0.1667

    Reference:
        Hadsell et al., "Dimensionality Reduction by Learning an Invariant Mapping", CVPR 2006,
        https://doi.org/10.1109/CVPR.2006.100 (squared)
    """

    def __init__(
        self,
        margin: float = 1.0,
        squared: bool = False,
        different: int = 1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "contrastive_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.margin = check_number("margin", margin, above=0)
        self.squared = check_flag("squared", squared)
        self.different = check_one_of("different", different, (0, 1))

    def terms(self, y_true: Any, y_pred: Any, mask: Any) -> tuple[Any, Any]:
        """Return the loss of each pair, and 1 for each unmasked pair, else 0."""
        y_pred = self._rows(y_pred, mask)
        labels = _checks.check_labels(y_true, y_pred.shape[0], "pairs")
        valid = ops.ones_like(labels, dtype=y_pred.dtype)
        if mask is not None:
            valid = ops.cast(mask, y_pred.dtype)
        _check_binary(labels, valid)
        near, apart = self._near_and_apart(y_pred)
        different = ops.equal(labels, ops.cast(self.different, labels.dtype))
        return ops.where(different, apart, near) * (valid / 2.0), valid

    def _rows(self, y_pred: Any, mask: Any) -> Any:
        """Return distances `(pairs,)` or embeddings `(pairs, 2, dimensions)`, 0 where masked."""
        if isinstance(y_pred, list | tuple) and len(y_pred) == 2 and len(np.shape(y_pred[0])) == 2:
            y_pred = ops.stack([ops.convert_to_tensor(part) for part in y_pred], axis=1)
        y_pred = _checks.check_rows(y_pred, mask, (1, 2, 3), _MEANING, self._computed_in)
        if y_pred.shape[1:] not in ((), (1,)) and y_pred.shape[1:-1] != (2,):
            raise ValueError(f"y_pred must be {_MEANING}. Received: {tuple(y_pred.shape)}")
        return y_pred[:, 0] if len(y_pred.shape) == 2 else y_pred

    def _near_and_apart(self, y_pred: Any) -> tuple[Any, Any]:
        """Return twice the loss of each pair if it is the same, and if it is different."""
        if len(y_pred.shape) == 1:
            if backend.is_known(y_pred) and bool(ops.any(y_pred < 0)):
                raise ValueError("y_pred must be distances, 0 or more. Received: negative values.")
            distances = y_pred
            squares = ops.square(distances)
        else:
            distances = _distances.paired_distances(False, y_pred[:, 0], y_pred[:, 1])
            squares = _distances.paired_distances(True, y_pred[:, 0], y_pred[:, 1])
        apart = ops.maximum(self.margin - distances, 0.0)
        return (squares, ops.square(apart)) if self.squared else (distances, apart)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this loss."""
        names = ("margin", "squared", "different")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _check_binary(labels: Any, valid: Any) -> None:
    if not backend.is_known(labels):
        return
    numbers = ops.convert_to_numpy(labels)[ops.convert_to_numpy(valid) > 0]
    wrong = np.setdiff1d(numbers, (0, 1))
    if wrong.size:
        raise ValueError(f"y_true must be 0 or 1 for each pair. Received: {wrong[0]}")
