"""Cross-entropy of class numbers with label smoothing."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import check_flag, check_fraction


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class SparseCategoricalCrossentropy(keras.losses.Loss):
    """Keras's cross-entropy of class numbers, with `label_smoothing`.

    Keras has label smoothing only for one-hot labels. With `label_smoothing=e` and k classes, the
    true class has the target 1 - e + e / k and each other class e / k. This keeps scores from
    becoming overconfident, and usually raises the accuracy of small data sets.

    Args:
        label_smoothing: Fraction of a label that is spread over all classes, at least 0 and below
            1.
        from_logits: Whether outputs are values before the softmax.
        reduction: As for every Keras loss.
        name: Name of the loss.
        dtype: Dtype of the result.

    Call arguments:
        y_true: Class numbers `(rows,)` or `(rows, 1)`.
        y_pred: Scores that add up to 1, or logits, `(rows, classes)`.
        sample_weight: Weight of each row.

    Raises:
        ValueError: If `label_smoothing` is out of range or `from_logits` is neither True nor False.

    Example:
        >>> import numpy as np
        >>> loss = SparseCategoricalCrossentropy(label_smoothing=0.2)
        >>> round(float(loss(np.array([0]), np.array([[0.9, 0.1]]))), 4)
        0.3251

    Reference:
        Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016,
        section 7, https://arxiv.org/abs/1512.00567
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        from_logits: bool = False,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "sparse_categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.label_smoothing = check_fraction("label_smoothing", label_smoothing)
        self.from_logits = check_flag("from_logits", from_logits)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each row."""
        numbers = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        one_hot = ops.one_hot(numbers, y_pred.shape[-1], dtype=y_pred.dtype)
        return keras.losses.categorical_crossentropy(
            one_hot, y_pred, from_logits=self.from_logits, label_smoothing=self.label_smoothing
        )

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this loss."""
        return {
            **super().get_config(),
            "label_smoothing": self.label_smoothing,
            "from_logits": self.from_logits,
            "dtype": self.dtype,
        }
