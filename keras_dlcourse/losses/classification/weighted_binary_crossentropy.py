"""Binary cross-entropy of several labels an image, some of them rare, some unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse.losses._checks import flag


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class WeightedBinaryCrossentropy(keras.losses.Loss):
    """Cross-entropy of each class on its own, with a weight for the positives of each.

        loss = mean over the known classes of  -(w y log p + (1 - y) log(1 - p))

    An image may show any number of the classes. Where few images show one, its positives drown
    among the negatives; a weight of negatives by positives (`kd.data.positive_weights`) gives both
    the same say. `fit(class_weight=...)` cannot do that: Keras takes it for one class an image.

    Args:
        positive_weight: A weight above 0 for the positives of each class, or one for all; None for
            1.
        from_logits: Whether outputs are before the sigmoid.
        reduction: As for every Keras loss.
        name: Name of the loss.
        dtype: Of the result.

    Call arguments:
        y_true: `(rows, classes)`: 1 where the class is there, 0 where it is not, and NaN or a
            number below 0 where that is not known, which leaves it out.
        y_pred: Probabilities or logits `(rows, classes)`.
        sample_weight: A factor for each row.

    Raises:
        ValueError: If a weight is not above 0, or there are not as many as classes.

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
        self.positive_weight = _checked(positive_weight)
        self.from_logits = flag("from_logits", from_logits)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each row."""
        if len(y_pred.shape) != 2 or tuple(y_true.shape[1:]) != tuple(y_pred.shape[1:]):
            raise ValueError(
                "y_true and y_pred must be (rows, classes), one number a class. Received: "
                f"{tuple(y_true.shape)} and {tuple(y_pred.shape)}"
            )
        known = y_true >= 0  # which NaN is not
        positive = ops.where(known, y_true, 0.0)
        each = self._positive(y_pred) * positive + self._negative(y_pred) * (1 - positive)
        known = ops.cast(known, each.dtype)
        return ops.sum(each * known, axis=-1) / ops.maximum(ops.sum(known, axis=-1), 1.0)

    def _positive(self, y_pred: Any) -> Any:
        """Return what each class costs where it is there."""
        weight: Any = 1.0
        if self.positive_weight is not None:
            weight = ops.convert_to_tensor(self.positive_weight, y_pred.dtype)
            if len(weight.shape) and weight.shape[0] != y_pred.shape[1]:
                raise ValueError(
                    f"positive_weight has {weight.shape[0]} weights for {y_pred.shape[1]} classes."
                )
        return weight * (ops.softplus(-y_pred) if self.from_logits else -ops.log(_inside(y_pred)))

    def _negative(self, y_pred: Any) -> Any:
        return ops.softplus(y_pred) if self.from_logits else -ops.log(_inside(1 - y_pred))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this loss again."""
        return {
            **super().get_config(),
            "positive_weight": self.positive_weight,
            "from_logits": self.from_logits,
            "dtype": self.dtype,
        }


def _inside(probability: Any) -> Any:
    """Return a probability that has a logarithm, as Keras's own losses do."""
    return ops.clip(probability, keras.config.epsilon(), 1.0)


def _checked(weight: Any) -> Any:
    if weight is None:
        return None
    try:
        values = np.asarray(weight, "float64")
    except (TypeError, ValueError):  # words, or a dictionary as of fit(class_weight=...)
        values = np.array(np.nan)
    if values.ndim > 1 or values.size == 0 or not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(f"positive_weight must be above 0, one for each class. Received: {weight}")
    return values.tolist()
