"""Normalized temperature-scaled cross-entropy of pairs (NT-Xent)."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_dlcourse.losses.embedding._pairs import Pairs
from keras_dlcourse.losses.embedding._scaled_cosines import ScaledCosineLoss, has_any, log_sum_exp


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class NTXent(ScaledCosineLoss):
    """For each pair of one class, classify the second row against the negatives of the first.

        loss = mean over pairs (a, p) of -log(e(a, p) / (e(a, p) + sum over negatives n of e(a, n)))
        e(a, b) = exp(cosine(a, b) / temperature)

    With two views of each image, and the index of the image as label, this is SimCLR's loss. The
    other positives of an anchor are not part of the sum. If no pair has negatives, the loss is 0.
    The gradient flows through all cosines, to both embeddings of each.

    Args:
        temperature: Divisor of the cosines; lower values emphasize the nearest negatives.
        gather: Whether to treat the batches of all replicas as one batch. Affects data parallelism
            on TensorFlow and PyTorch; on JAX they are always one batch.
        reduction: As for every Keras loss. The value of a row is the sum over its pairs (as the
            anchor) * rows / pairs, so that the mean over rows is the mean over pairs.
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
        >>> views = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]], "float32")
        >>> round(float(NTXent(temperature=0.5)(np.array([7, 7, 8, 8]), views)), 3)
        0.29

    Reference:
        Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML
        2020, https://arxiv.org/abs/2002.05709
    """

    def __init__(
        self,
        temperature: float = 0.07,
        gather: bool = True,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "nt_xent",
        dtype: Any = None,
    ) -> None:
        super().__init__(temperature, gather, name=name, reduction=reduction, dtype=dtype)

    def of_pairs(self, pairs: Pairs) -> tuple[Any, Any]:
        """Return the sum over each anchor's pairs, and the number of pairs."""
        scaled = self._scale_cosines(pairs)
        valid = ops.logical_and(pairs.positive, has_any(pairs.negative))
        losses = ops.softplus(log_sum_exp(scaled, pairs.negative) - scaled)
        totals = ops.sum(ops.where(valid, losses, 0.0), axis=1)
        return totals, ops.sum(ops.cast(valid, scaled.dtype), axis=1)
