"""Cross-entropy of two classes coded as -1 and 1, for tanh outputs."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import check_flag


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class TanhCrossentropy(keras.losses.Loss):
    """Binary cross-entropy on (1 + y) / 2, for labels and outputs from -1 to 1.

        p = (1 + y) / 2,   loss = -mean over outputs of  (1 + t) / 2 log p + (1 - t) / 2 log(1 - p)

    A tanh output y is a rescaled sigmoid: with p = (1 + tanh z) / 2 = sigmoid(2 z), p is the
    probability of class 1. This loss is therefore the negative log-likelihood of the labels, like
    `keras.losses.BinaryCrossentropy` for labels 0 and 1. Squared error also works with this coding,
    but its gradient vanishes where the tanh is saturated on the wrong side.

    Args:
        from_logits: Whether outputs are values before the tanh, which is more accurate.
        reduction: As for every Keras loss.
        name: Name of the loss.
        dtype: Dtype of the result.

    Call arguments:
        y_true: `(rows, outputs)`: -1 or 1, or values in between for soft labels.
        y_pred: Tanh outputs from -1 to 1, or logits, of the same shape.
        sample_weight: Weight of each row.

    Raises:
        ValueError: If the shapes differ, or `from_logits` is neither True nor False.

    Example:
        >>> import numpy as np
        >>> loss = TanhCrossentropy()
        >>> round(float(loss(np.array([[1.0], [-1.0]]), np.array([[0.0], [0.0]]))), 4)  # log 2
        0.6931

    Reference:
        Bishop, "Neural Networks for Pattern Recognition", 1995, section 6.7
    """

    def __init__(
        self,
        from_logits: bool = False,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "tanh_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.from_logits = check_flag("from_logits", from_logits)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each row."""
        if tuple(y_true.shape[1:]) != tuple(y_pred.shape[1:]):
            raise ValueError(
                "y_true and y_pred must have the same shape, (rows, outputs). Received: "
                f"{tuple(y_true.shape)} and {tuple(y_pred.shape)}"
            )
        share = (1 + y_true) / 2  # of class 1
        if self.from_logits:  # log sigmoid(2 z) without computing the sigmoid
            ones, others = ops.softplus(-2 * y_pred), ops.softplus(2 * y_pred)
        else:
            ones, others = -_log_half(1 + y_pred), -_log_half(1 - y_pred)
        each = share * ones + (1 - share) * others
        return ops.sum(each, axis=-1) / each.shape[-1]  # ops.mean always returns float32 on JAX

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this loss."""
        return {**super().get_config(), "from_logits": self.from_logits, "dtype": self.dtype}


def _log_half(x: Any) -> Any:
    """Return log(x / 2) for x from 0 to 2, clipped away from 0."""
    return ops.log(ops.clip(x / 2, keras.config.epsilon(), 1.0))
