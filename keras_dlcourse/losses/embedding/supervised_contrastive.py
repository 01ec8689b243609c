"""Supervised contrastive loss."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_dlcourse.losses.embedding._pairs import Pairs
from keras_dlcourse.losses.embedding._scaled_cosines import ScaledCosineLoss, any_of, log_sum_exp


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class SupervisedContrastive(ScaledCosineLoss):
    """Of each anchor, tell all rows of its class from all other rows.

        loss = mean over anchors a of the mean over positives p of
               -log(e(a, p) / sum over all others k of e(a, k))
        e(a, b) = exp(cosine(a, b) / temperature)

    The mean over positives stands outside of the logarithm (the paper's L_out). Anchors are the
    rows that have a positive and a negative; without any the loss is 0. The gradient flows through
    all cosines, to both embeddings of each.

    Args:
        temperature: What cosines are divided by; lower looks harder at the nearest rows.
        gather: Whether the batches of all replicas are one batch. Concerns data parallelism on
            TensorFlow and PyTorch; on JAX they always are one.
        reduction: As for every Keras loss. The value of a row is its loss * rows / anchors, so that
            the mean over rows is the mean over anchors.
        name: Name of the loss.
        dtype: Of the result. It is computed in float32 at least.

    Call arguments:
        y_true: Integer labels `(rows,)` or `(rows, 1)`.
        y_pred: Embeddings `(rows, dimensions)` of any length.
        sample_weight: A factor for the value of each row.

    Raises:
        ValueError: For arguments that make no sense, or shapes or numbers that are none of these.
        TypeError: If labels are no integers.

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
        """Return the loss of each anchor, and 1 if it is one."""
        scaled = self._scaled(pairs)
        positive, negative = pairs.positive, pairs.negative
        valid = ops.logical_and(any_of(positive), any_of(negative))[:, 0]
        surprise = log_sum_exp(scaled, ops.logical_or(positive, negative)) - scaled
        number = ops.sum(ops.cast(positive, scaled.dtype), axis=1)
        means = ops.sum(ops.where(positive, surprise, 0.0), axis=1) / ops.maximum(number, 1.0)
        return ops.where(valid, means, 0.0), ops.cast(valid, scaled.dtype)
