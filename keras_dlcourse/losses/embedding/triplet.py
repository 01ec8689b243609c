"""Triplet loss, with triplets mined from the batch."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import check_flag, check_number, check_one_of
from keras_dlcourse.losses import _checks
from keras_dlcourse.losses.embedding import _distances, _mining
from keras_dlcourse.losses.embedding._pairs import PairLoss, Pairs

MINING = ("semi_hard", "hard", "all", None)
OVER = ("valid", "active")


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class TripletLoss(PairLoss):
    """Triplet loss: keep each anchor nearer to a positive than to a negative, by a margin.

        loss = mean over triplets of max(0, margin + d(anchor, positive) - d(anchor, negative))

    A positive is another row with the anchor's label, a negative a row with another label. If there
    is no triplet, the loss and its gradient are 0. The gradient flows through the distances of the
    selected triplets to all three embeddings; the selection itself has no gradient. Embeddings are
    not normalized: end the model with `kd.layers.L2Normalization` for embeddings of length 1.

    Memory is O(rows^2) for every kind of mining, except `mining="all"` with `soft=True`, which
    takes O(rows^3).

    Args:
        margin: By how much nearer, in units of the distance. None means 1, or 0 in the soft form.
        mining: Which triplets to use. `"semi_hard"`: for each anchor and positive, the nearest
            negative that is farther away than the positive, or the farthest negative if there is
            none. `"hard"`: for each anchor that has both, its farthest positive and its nearest
            negative. `"all"`: all triplets. None: each row of the input is already a triplet.
        distance: `"euclidean"` (not squared), `"squared"` (as in FaceNet) or `"cosine"` (1 -
            cosine).
        soft: Whether to use `log(1 + exp(z))` instead of `max(0, z)`, so that no triplet ever has
            zero loss.
        over: `"valid"` averages over all selected triplets, `"active"` only over those with a loss
            above 0, so that their number no longer affects the loss.
        gather: Whether to treat the batches of all replicas as one batch. Affects data parallelism
            on TensorFlow and PyTorch; on JAX they are always one batch.
        reduction: As for every Keras loss. The value of a row is the sum over its triplets (as the
            anchor) * rows / triplets, so that the mean over rows is the mean over triplets.
        name: Name of the loss.
        dtype: Dtype of the result. The computation uses at least float32.

    Call arguments:
        y_true: Integer labels `(rows,)` or `(rows, 1)`; ignored if `mining` is None.
        y_pred: Embeddings `(rows, dimensions)`. If `mining` is None: anchors, positives and
            negatives, as a tuple of three such tensors or one tensor `(rows, 3, dimensions)`.
        sample_weight: Weight of each row's value. A row with weight 0 has no effect as an anchor,
            but remains a positive and a negative of others; a masked row is neither.

    Raises:
        ValueError: If an argument is out of range, or an input has an unsupported shape or value.
        TypeError: If the labels are not integers.

    Example:
        >>> import numpy as np
        >>> embeddings = np.array([[0.0, 0.0], [0.0, 3.0], [4.0, 0.0], [4.0, 2.0]], "float32")
        >>> loss = TripletLoss(margin=2.0)
        >>> labels = np.array([0, 0, 1, 1])
        >>> round(float(loss(labels, embeddings)), 3)  # (1 + 0.877 + 0 + 0) / 4
        0.469

    Reference:
        - Schroff et al., "FaceNet", CVPR 2015, https://arxiv.org/abs/1503.03832 (semi-hard)
        - Hermans et al., "In Defense of the Triplet Loss", 2017,
          https://arxiv.org/abs/1703.07737 (hard, all, soft, the mean over active triplets)
    """

    def __init__(
        self,
        margin: float | None = None,
        mining: str | None = "semi_hard",
        distance: str = "euclidean",
        soft: bool = False,
        over: str = "valid",
        gather: bool = True,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "triplet_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(gather=gather, name=name, reduction=reduction, dtype=dtype)
        self.margin = None if margin is None else check_number("margin", margin, above=0)
        self.mining = check_one_of("mining", mining, MINING)
        self.distance = check_one_of("distance", distance, _distances.DISTANCES)
        self.soft = check_flag("soft", soft)
        self.over = check_one_of("over", over, OVER)
        self._margin = (0.0 if soft else 1.0) if self.margin is None else self.margin

    def terms(self, y_true: Any, y_pred: Any, mask: Any) -> tuple[Any, Any]:
        """Return the sum over each anchor's triplets, and the number of triplets."""
        if self.mining is None:
            return self._triplet_terms(y_pred, mask)
        return super().terms(y_true, y_pred, mask)

    def of_pairs(self, pairs: Pairs) -> tuple[Any, Any]:
        """Return the sum over each anchor's triplets, and the number of triplets."""
        positive, negative = pairs.positive, pairs.negative
        distances = _distances.pairwise_distances(self.distance, pairs.anchors, pairs.others)
        if self.mining == "all":
            return self._sum_all_triplets(distances, positive, negative)
        complete = ops.any(negative, axis=1, keepdims=True)
        if self.mining == "hard":
            complete = ops.logical_and(complete, ops.any(positive, axis=1, keepdims=True))
            near, far = _mining.mine_hardest(distances, positive, negative)
            return self._sum_losses(near - far, complete)
        far = _mining.mine_semi_hard(distances, negative)
        return self._sum_losses(distances - far, ops.logical_and(positive, complete))

    def _triplet_terms(self, y_pred: Any, mask: Any) -> tuple[Any, Any]:
        """Return the loss and count of each row, which is one triplet."""
        if isinstance(y_pred, list | tuple) and len(y_pred) == 3:
            y_pred = ops.stack([ops.convert_to_tensor(part) for part in y_pred], axis=1)
        meaning = "anchors, positives and negatives of shape (rows, 3, dimensions)"
        y_pred = _checks.check_rows(y_pred, mask, (3,), meaning, self._computed_in)
        if y_pred.shape[1] != 3:
            raise ValueError(f"y_pred must be {meaning}. Received: {tuple(y_pred.shape)}")
        valid = ops.ones_like(y_pred[:, 0, 0], dtype="bool") if mask is None else mask
        anchor, near, far = (y_pred[:, place] for place in range(3))
        excess = self._distance(anchor, near) - self._distance(anchor, far)
        return self._sum_losses(ops.expand_dims(excess, 1), ops.expand_dims(valid, 1))

    def _distance(self, one: Any, other: Any) -> Any:
        if self.distance == "cosine":
            return 1.0 - ops.sum(
                _distances.scale_to_unit(one) * _distances.scale_to_unit(other), axis=-1
            )
        return _distances.paired_distances(self.distance == "squared", one, other)

    def _sum_losses(self, excess: Any, valid: Any) -> tuple[Any, Any]:
        """Return the sum and number of each row's losses, over the entries where `valid`."""
        losses = ops.where(valid, self._loss(excess), 0.0)
        counted = losses > 0 if self.over == "active" else valid
        return ops.sum(losses, axis=1), ops.sum(ops.cast(counted, losses.dtype), axis=1)

    def _loss(self, excess: Any) -> Any:
        excess = excess + self._margin
        return ops.softplus(excess) if self.soft else ops.maximum(excess, 0.0)

    def _sum_all_triplets(self, distances: Any, positive: Any, negative: Any) -> tuple[Any, Any]:
        dtype = distances.dtype
        if self.soft:
            excess = ops.expand_dims(distances, 2) - ops.expand_dims(distances, 1)
            losses = ops.where(ops.expand_dims(negative, 1), self._loss(excess), 0.0)
            sums, active = ops.sum(losses, axis=2), None
        else:
            sums, active = _mining.sum_hinge_over_negatives(distances, negative, self._margin)
        totals = ops.sum(ops.where(positive, sums, 0.0), axis=1)
        if self.over == "active" and active is not None:
            return totals, ops.sum(ops.where(positive, active, 0.0), axis=1)
        numbers = [ops.sum(ops.cast(pairs, dtype), axis=1) for pairs in (positive, negative)]
        return totals, numbers[0] * numbers[1]

    def prepare_embeddings(self, embeddings: Any) -> Any:
        """Return embeddings as the distances use them: scaled to length 1 for cosines."""
        return _distances.scale_to_unit(embeddings) if self.distance == "cosine" else embeddings

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this loss."""
        names = ("margin", "mining", "distance", "soft", "over")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
