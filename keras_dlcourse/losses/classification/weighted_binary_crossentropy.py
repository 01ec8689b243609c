"""Binary cross-entropy for several labels per image, some of them rare, some unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse._checks import check_flag


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class WeightedBinaryCrossentropy(keras.losses.Loss):
    """Binary cross-entropy of each class, with a weight for its positives.

        loss = mean over the known classes of  -(w y log p + (1 - y) log(1 - p))

    An image may show any number of classes. If few images show a class, its positives are
    outnumbered by the negatives; the ratio of negatives to positives (`kd.data.positive_weights`)
    as weight balances them. `fit(class_weight=...)` cannot do that: in Keras it assumes one class
    per image.

    Args:
        positive_weight: A weight above 0 for the positives of each class, or one for all classes;
            None for 1.
        from_logits: Whether outputs are values before the sigmoid.
        reduction: As for every Keras loss.
        name: Name of the loss.
        dtype: Dtype of the result.

    Call arguments:
        y_true: `(rows, classes)`: 1 if the class is present, 0 if it is absent, and NaN or a
            negative value if unknown; unknown labels are ignored.
        y_pred: Probabilities or logits `(rows, classes)`.
        sample_weight: Weight of each row.

    Raises:
        ValueError: If a weight is not above 0, or their number does not match the classes.

    Example:
        >>> import numpy as np
        >>> loss = WeightedBinaryCrossentropy(positive_weight=[3.0, 1.0])
        >>> round(float(loss(np.array([[1.0, -1.0]]), np.array([[0.5, 0.9]]))), 3)  # 3 log(2)
        2.079

    Reference:
        PyTorch's `BCEWithLogitsLoss` (`pos_weight`)
    """

    def __init__(
        self,
        positive_weight: float | Sequence[float] | None = None,
        from_logits: bool = False,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "weighted_binary_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.positive_weight = _check_weight(positive_weight)
        self.from_logits = check_flag("from_logits", from_logits)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each row."""
        if len(y_pred.shape) != 2 or tuple(y_true.shape[1:]) != tuple(y_pred.shape[1:]):
            raise ValueError(
                "y_true and y_pred must be (rows, classes), one value per class. Received: "
                f"{tuple(y_true.shape)} and {tuple(y_pred.shape)}"
            )
        known = y_true >= 0  # False for NaN
        positive = ops.where(known, y_true, 0.0)
        each = self._positive_loss(y_pred) * positive + self._negative_loss(y_pred) * (1 - positive)
        known = ops.cast(known, each.dtype)
        return ops.sum(each * known, axis=-1) / ops.maximum(ops.sum(known, axis=-1), 1.0)

    def _positive_loss(self, y_pred: Any) -> Any:
        """Return the loss of each class where it is present."""
        weight: Any = 1.0
        if self.positive_weight is not None:
            weight = ops.convert_to_tensor(self.positive_weight, y_pred.dtype)
            if len(weight.shape) and weight.shape[0] != y_pred.shape[1]:
                raise ValueError(
                    f"positive_weight has {weight.shape[0]} weights for {y_pred.shape[1]} classes."
                )
        return weight * (ops.softplus(-y_pred) if self.from_logits else -ops.log(_clip(y_pred)))

    def _negative_loss(self, y_pred: Any) -> Any:
        return ops.softplus(y_pred) if self.from_logits else -ops.log(_clip(1 - y_pred))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this loss."""
        return {
            **super().get_config(),
            "positive_weight": self.positive_weight,
            "from_logits": self.from_logits,
            "dtype": self.dtype,
        }


def _clip(probability: Any) -> Any:
    """Return a probability clipped away from 0, as in Keras's own losses."""
    return ops.clip(probability, keras.config.epsilon(), 1.0)


def _check_weight(weight: Any) -> Any:
    if weight is None:
        return None
    try:
        values = np.asarray(weight, "float64")
    except (TypeError, ValueError):  # strings, or a dictionary as in fit(class_weight=...)
        values = np.array(np.nan)
    if values.ndim > 1 or values.size == 0 or not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(f"positive_weight must be above 0, one for each class. Received: {weight}")
    return values.tolist()
