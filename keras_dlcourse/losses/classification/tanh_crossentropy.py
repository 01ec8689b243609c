"""Cross-entropy of two classes that are coded as -1 and 1, behind a tanh."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_dlcourse.losses._checks import flag


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class TanhCrossentropy(keras.losses.Loss):
    """Binary cross-entropy on (1 + y) / 2, for labels and outputs from -1 to 1.

        p = (1 + y) / 2,   loss = -mean over outputs of  (1 + t) / 2 log p + (1 - t) / 2 log(1 - p)

    A tanh output y is the sigmoid's in another coding: with p = (1 + tanh z) / 2 = sigmoid(2 z), p
    is the probability of class 1. This loss is therefore the negative log-likelihood of the labels,
    as `keras.losses.BinaryCrossentropy` is that of labels 0 and 1. Squared error works with the
    same coding, too, but its gradient dies where the tanh is saturated on the wrong side.

    Args:
        from_logits: Whether outputs are before the tanh. More exact than behind it.
        reduction: As for every Keras loss.
        name: Name of the loss.
        dtype: Of the result.

    Call arguments:
        y_true: `(rows, outputs)`: -1 or 1, or between for labels that are not sure.
        y_pred: Outputs of a tanh, from -1 to 1, or logits, of the same shape.
        sample_weight: A factor for each row.

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
        self.from_logits = flag("from_logits", from_logits)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each row."""
        if tuple(y_true.shape[1:]) != tuple(y_pred.shape[1:]):
            raise ValueError(
                "y_true and y_pred must have one shape, (rows, outputs). Received: "
                f"{tuple(y_true.shape)} and {tuple(y_pred.shape)}"
            )
        share = (1 + y_true) / 2  # of class 1
        if self.from_logits:  # log sigmoid(2 z) without computing the sigmoid
            ones, others = ops.softplus(-2 * y_pred), ops.softplus(2 * y_pred)
        else:
            ones, others = -_log_half(1 + y_pred), -_log_half(1 - y_pred)
        each = share * ones + (1 - share) * others
        return ops.sum(each, axis=-1) / each.shape[-1]  # ops.mean is float32 on JAX, always

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this loss again."""
        return {**super().get_config(), "from_logits": self.from_logits, "dtype": self.dtype}


def _log_half(x: Any) -> Any:
    """Return log(x / 2) where x is from 0 to 2; 0 itself has no logarithm."""
    return ops.log(ops.clip(x / 2, keras.config.epsilon(), 1.0))
