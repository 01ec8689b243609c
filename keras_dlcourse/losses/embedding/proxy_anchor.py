"""Proxy-anchor loss: class proxies are the anchors, batch rows their positives and negatives."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_dlcourse import backend
from keras_dlcourse._checks import check_flag, check_number
from keras_dlcourse.losses._base import MeanOverTerms, mask_of
from keras_dlcourse.losses.embedding import _cosines


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class ProxyAnchor(MeanOverTerms):
    """Pull a trained proxy of each class toward its rows and push it away from all others.

        loss = mean over proxies with rows of log(1 + sum over their rows of exp(-a (cos - m)))
             + mean over all proxies of log(1 + sum over other rows of exp(a (cos + m)))

    Takes O(rows * classes) time, without any mining. The model ends with
    `kd.layers.CosineDense(classes)`, whose columns are the proxies; it is dropped on the device.
    The gradient flows through all cosines.

    Args:
        margin: m, in units of the cosine, below 2.
        alpha: a, how strongly the hardest rows of a proxy outweigh the others.
        gather: Whether to treat the batches of all replicas as one batch. Affects data parallelism
            on TensorFlow and PyTorch; on JAX they are always one batch.
        reduction: As for every Keras loss. The logarithms are over the whole batch, so the value of
            each row is the loss of the batch.
        name: Name of the loss.
        dtype: Dtype of the result. The computation uses at least float32.

    Call arguments:
        y_true: Integer labels `(rows,)` or `(rows, 1)`, column indices of `y_pred`. Other labels
            raise ValueError in eager execution; in compiled code they give NaN, and
            `kd.callbacks.TerminateOnNaN` reports them.
        y_pred: Cosines `(rows, classes)`.
        sample_weight: Weight of each row inside the sums: 2 counts the row twice, 0 ignores it.

    Raises:
        ValueError: If an argument is out of range, or an input has an unsupported shape or value.
        TypeError: If the labels are not integers.

    Example:
        >>> import numpy as np
        >>> cosines = np.array([[0.9, 0.1], [0.2, 0.6]], "float32")
        >>> round(float(ProxyAnchor(margin=0.1, alpha=4.0)(np.array([0, 1]), cosines)), 3)
        1.401

    Reference:
        Kim et al., "Proxy Anchor Loss for Deep Metric Learning", CVPR 2020,
        https://arxiv.org/abs/2003.13911
    """

    def __init__(
        self,
        margin: float = 0.1,
        alpha: float = 32.0,
        gather: bool = True,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "proxy_anchor",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.margin = check_number("margin", margin, above=0, below=2.0)
        self.alpha = check_number("alpha", alpha, above=0)
        self.gather = check_flag("gather", gather)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Return the loss, reduced as `reduction` says."""
        with keras.name_scope(self.name):
            mask = mask_of(y_pred)
            values = self.call(y_true, y_pred, mask, sample_weight)
            return self._reduced(values, values)

    def call(self, y_true: Any, y_pred: Any, mask: Any = None, sample_weight: Any = None) -> Any:
        """Return the loss of the batch, repeated for each row, `(rows,)`."""
        cosines = _cosines.cosines(y_pred, mask, self._computed_in)
        true, within = _cosines.members(y_true, mask, cosines)
        dtype = cosines.dtype
        weights = ops.ones_like(cosines[:, 0])
        if sample_weight is not None:
            weights = weights * ops.reshape(ops.cast(sample_weight, dtype), (-1,))
        if mask is not None:
            weights = ops.where(mask, weights, 0.0)
        weights = ops.where(ops.logical_or(within, weights <= 0), weights, float("nan"))
        if self._replicas() > 1:
            true = ops.cast(backend.gathered(ops.cast(true, "int32")), "bool")
            cosines, weights = backend.gathered(cosines), backend.gathered(weights)
        loss = self._batch_loss(cosines, true, ops.stop_gradient(weights))
        return ops.cast(ops.broadcast_to(loss, (ops.shape(y_pred)[0],)), self.dtype)

    def _batch_loss(self, cosines: Any, true: Any, weights: Any) -> Any:
        weights = ops.expand_dims(weights, 1)
        pulls = _log_one_plus_sum_exp(self.alpha * (self.margin - cosines), weights, true)
        others = ops.logical_not(true)
        pushes = _log_one_plus_sum_exp(self.alpha * (cosines + self.margin), weights, others)
        present = ops.any(ops.logical_and(true, weights > 0), axis=0)
        number = ops.maximum(ops.sum(ops.cast(present, cosines.dtype)), 1.0)
        return ops.sum(pulls) / number + ops.sum(pushes) / pushes.shape[0]

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this loss."""
        names = ("margin", "alpha", "gather")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _log_one_plus_sum_exp(values: Any, weights: Any, where: Any) -> Any:
    """Return log(1 + sum(weights * exp(values))) of each column, over the rows in `where`."""
    empty = ops.logical_or(ops.logical_not(where), weights <= 0)  # NaN weights count
    logs = ops.where(empty, -1e30, values + ops.log(ops.where(empty, 1.0, weights)))
    return ops.logsumexp(ops.concatenate([ops.zeros_like(logs[:1]), logs], axis=0), axis=0)
