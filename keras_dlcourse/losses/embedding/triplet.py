"""Triplet loss, with the triplets found in the batch."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import positive_float
from keras_dlcourse.losses import _checks
from keras_dlcourse.losses.embedding import _distances, _mining
from keras_dlcourse.losses.embedding._pairs import PairLoss, Pairs

MINING = ("semi_hard", "hard", "all", None)
OVER = ("valid", "active")


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class TripletLoss(PairLoss):
    """Of each anchor, have a positive nearer than a negative, by a margin.

        loss = mean over triplets of max(0, margin + d(anchor, positive) - d(anchor, negative))

    A positive is another row with the anchor's label, a negative one with another label. Without
    any triplet the loss is 0, and so is its gradient. That flows through the distances of the
    triplets taken, to all three embeddings; which are taken has no gradient. Embeddings are taken
    as they are: end the model in `kd.layers.L2Normalization` to have them of length 1.

    Memory is O(rows^2) for all kinds of mining, but for `mining="all"` with `soft=True`:
    O(rows^3).

    Args:
        margin: By how much nearer, in units of the distance. None is 1, or none in the soft form.
        mining: Which triplets are taken. `"semi_hard"`: for each anchor and positive, the nearest
            negative that is farther than the positive; where there is none, the farthest negative.
            `"hard"`: for each anchor that has both, its farthest positive and its nearest negative.
            `"all"`: every one. None: rows are triplets already.
        distance: `"euclidean"` (not squared), `"squared"` (as in FaceNet) or `"cosine"` (1 -
            cosine).
        soft: Whether `max(0, z)` is `log(1 + exp(z))` instead, which never lets go of a triplet.
        over: `"valid"` takes the mean over all triplets taken, `"active"` over those with a loss
            above 0, whose number then no longer shows in the loss.
        gather: Whether the batches of all replicas are one batch. Concerns data parallelism on
            TensorFlow and PyTorch; on JAX they always are one.
        reduction: As for every Keras loss. The value of a row is the sum over its triplets (as the
            anchor) * rows / triplets, so that the mean over rows is the mean over triplets.
        name: Name of the loss.
        dtype: Of the result. It is computed in float32 at least.

    Call arguments:
        y_true: Integer labels `(rows,)` or `(rows, 1)`; not looked at if `mining` is None.
        y_pred: Embeddings `(rows, dimensions)`. If `mining` is None: anchors, positives and
            negatives, a tuple of three such or one tensor `(rows, 3, dimensions)`.
        sample_weight: A factor for the value of each row. A row of weight 0 is no anchor, and stays
            a positive and a negative of others; a masked row is neither.

    Raises:
        ValueError: For arguments that make no sense, or shapes or numbers that are none of these.
        TypeError: If labels are no integers.

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
        self.margin = None if margin is None else positive_float("margin", margin)
        self.mining = _checks.one_of("mining", mining, MINING)
        self.distance = _checks.one_of("distance", distance, _distances.DISTANCES)
        self.soft = _checks.flag("soft", soft)
        self.over = _checks.one_of("over", over, OVER)
        self._margin = (0.0 if soft else 1.0) if self.margin is None else self.margin

    def terms(self, y_true: Any, y_pred: Any, mask: Any) -> tuple[Any, Any]:
        """Return the sum over each anchor's triplets, and their number."""
        if self.mining is None:
            return self._of_triplets(y_pred, mask)
        return super().terms(y_true, y_pred, mask)

    def of_pairs(self, pairs: Pairs) -> tuple[Any, Any]:
        """Return the sum over each anchor's triplets, and their number."""
        positive, negative = pairs.positive, pairs.negative
        distances = _distances.pairwise(self.distance, pairs.anchors, pairs.others)
        if self.mining == "all":
            return self._over_all(distances, positive, negative)
        complete = ops.any(negative, axis=1, keepdims=True)
        if self.mining == "hard":
            complete = ops.logical_and(complete, ops.any(positive, axis=1, keepdims=True))
            near, far = _mining.hardest(distances, positive, negative)
            return self._over(near - far, complete)
        far = _mining.semi_hard(distances, negative)
        return self._over(distances - far, ops.logical_and(positive, complete))

    def _of_triplets(self, y_pred: Any, mask: Any) -> tuple[Any, Any]:
        """Return the loss of each row, which is one triplet."""
        if isinstance(y_pred, list | tuple) and len(y_pred) == 3:
            y_pred = ops.stack([ops.convert_to_tensor(part) for part in y_pred], axis=1)
        meaning = "anchors, positives and negatives of shape (rows, 3, dimensions)"
        y_pred = _checks.rows(y_pred, mask, (3,), meaning, self._computed_in)
        if y_pred.shape[1] != 3:
            raise ValueError(f"y_pred must be {meaning}. Received: {tuple(y_pred.shape)}")
        valid = ops.ones_like(y_pred[:, 0, 0], dtype="bool") if mask is None else mask
        anchor, near, far = (y_pred[:, place] for place in range(3))
        excess = self._distance(anchor, near) - self._distance(anchor, far)
        return self._over(ops.expand_dims(excess, 1), ops.expand_dims(valid, 1))

    def _distance(self, one: Any, other: Any) -> Any:
        if self.distance == "cosine":
            return 1.0 - ops.sum(_distances.unit(one) * _distances.unit(other), axis=-1)
        return _distances.of_pairs(self.distance == "squared", one, other)

    def _over(self, excess: Any, valid: Any) -> tuple[Any, Any]:
        """Sum the losses of triplets, one of each place where `valid`, over each row."""
        losses = ops.where(valid, self._loss(excess), 0.0)
        counted = losses > 0 if self.over == "active" else valid
        return ops.sum(losses, axis=1), ops.sum(ops.cast(counted, losses.dtype), axis=1)

    def _loss(self, excess: Any) -> Any:
        excess = excess + self._margin
        return ops.softplus(excess) if self.soft else ops.maximum(excess, 0.0)

    def _over_all(self, distances: Any, positive: Any, negative: Any) -> tuple[Any, Any]:
        dtype = distances.dtype
        if self.soft:
            excess = ops.expand_dims(distances, 2) - ops.expand_dims(distances, 1)
            losses = ops.where(ops.expand_dims(negative, 1), self._loss(excess), 0.0)
            sums, active = ops.sum(losses, axis=2), None
        else:
            sums, active = _mining.hinge_over_negatives(distances, negative, self._margin)
        totals = ops.sum(ops.where(positive, sums, 0.0), axis=1)
        if self.over == "active" and active is not None:
            return totals, ops.sum(ops.where(positive, active, 0.0), axis=1)
        numbers = [ops.sum(ops.cast(pairs, dtype), axis=1) for pairs in (positive, negative)]
        return totals, numbers[0] * numbers[1]

    def compared(self, embeddings: Any) -> Any:
        """Return embeddings as their distances see them: scaled to length 1 for cosines."""
        return _distances.unit(embeddings) if self.distance == "cosine" else embeddings

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this loss again."""
        names = ("margin", "mining", "distance", "soft", "over")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
