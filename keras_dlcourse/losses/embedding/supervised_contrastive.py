"""Supervised contrastive loss."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_dlcourse.losses.embedding._pairs import Pairs
from keras_dlcourse.losses.embedding._scaled_cosines import ScaledCosineLoss, has_any, log_sum_exp


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class SupervisedContrastive(ScaledCosineLoss):
    """For each anchor, separate the rows of its class from all other rows.

        loss = mean over anchors a of the mean over positives p of
               -log(e(a, p) / sum over all others k of e(a, k))
        e(a, b) = exp(cosine(a, b) / temperature)

    The mean over positives is outside the logarithm (the paper's L_out). Anchors are the rows that
    have a positive and a negative; if there are none, the loss is 0. The gradient flows through all
    cosines, to both embeddings of each.

    Args:
        temperature: Divisor of the cosines; lower values emphasize the nearest rows.
        gather: Whether to treat the batches of all replicas as one batch. Affects data parallelism
            on TensorFlow and PyTorch; on JAX they are always one batch.
        reduction: As for every Keras loss. The value of a row is its loss * rows / anchors, so that
            the mean over rows is the mean over anchors.
        name: Name of the loss.
        dtype: Dtype of the result. The computation uses at least float32.

    Call arguments:
        y_true: Integer labels `(rows,)` or `(rows, 1)`.
        y_pred: Embeddings `(rows, dimensions)` of any length.
        sample_weight: Weight of each row's value.

    Raises:
        ValueError: If an argument is out of range, or an input has an unsupported shape or value.
        TypeError: If the labels are not integers.

    Example:
        >>> import numpy as np
        >>> x = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]], "float32")
        >>> round(float(SupervisedContrastive(temperature=0.5)(np.array([0, 0, 1, 1]), x)), 3)
        0.29

    Reference:
        Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020,
        https://arxiv.org/abs/2004.11362
    """

    def __init__(
        self,
        temperature: float = 0.1,
        gather: bool = True,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "supervised_contrastive",
        dtype: Any = None,
    ) -> None:
        super().__init__(temperature, gather, name=name, reduction=reduction, dtype=dtype)

    def of_pairs(self, pairs: Pairs) -> tuple[Any, Any]:
        """Return the loss of each row, and 1 if the row is an anchor, else 0."""
        scaled = self._scale_cosines(pairs)
        positive, negative = pairs.positive, pairs.negative
        valid = ops.logical_and(has_any(positive), has_any(negative))[:, 0]
        surprise = log_sum_exp(scaled, ops.logical_or(positive, negative)) - scaled
        number = ops.sum(ops.cast(positive, scaled.dtype), axis=1)
        means = ops.sum(ops.where(positive, surprise, 0.0), axis=1) / ops.maximum(number, 1.0)
        return ops.where(valid, means, 0.0), ops.cast(valid, scaled.dtype)
