"""Focal loss of scores that say how well a box fits."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import check_flag, check_number


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class QualityFocalLoss(keras.losses.Loss):
    """Focal loss with true scores from 0 to 1, such as the IoU of the predicted box.

        loss = sum over classes of  |y - p|^beta * (-y log p - (1 - y) log(1 - p))

    A detector that learns the IoU as its score ranks boxes that fit first, which raises AP. With
    y of 0 and 1 this is `keras.losses.BinaryFocalCrossentropy` with gamma `beta`, but summed over
    classes.

    Args:
        beta: By how much scores are reduced that are nearly right, at least 1.
        from_logits: Whether outputs are values before the sigmoid, which is more exact.
        reduction: As for every Keras loss.
        name: Name of the loss.
        dtype: Dtype of the result.

    Call arguments:
        y_true: `(..., classes)`: at its class the IoU of each anchor's predicted box with its true
            box, which no gradient should flow through; all 0 for background.
        y_pred: `(..., classes)`.
        sample_weight: Weight of each anchor: 0 for ignored ones. Papers divide the sum by the
            number of matched anchors, not of all.

    Raises:
        TypeError: If `from_logits` is not a bool, or `beta` no number.
        ValueError: If `beta` is below 1.

    Example:
        >>> loss = QualityFocalLoss()
        >>> round(float(loss([[0.8, 0.0]], [[0.8, 0.5]])), 4)  # 0.5² * log(2)
        0.1733

    Reference:
        Li et al., "Generalized Focal Loss: Learning Qualified and Distributed Bounding Boxes for
        Dense Object Detection", NeurIPS 2020, https://arxiv.org/abs/2006.04388, equation 5
    """

    def __init__(
        self,
        beta: float = 2.0,
        from_logits: bool = False,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "quality_focal_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        # Below 1, the gradient would be infinite where a score is right.
        self.beta = check_number("beta", beta, least=1)
        self.from_logits = check_flag("from_logits", from_logits)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the sum over the last axis."""
        error = ops.binary_crossentropy(y_true, y_pred, from_logits=self.from_logits)
        scores = ops.sigmoid(y_pred) if self.from_logits else y_pred
        # A power has no derivative at 0.
        apart = ops.maximum(ops.abs(ops.subtract(y_true, scores)), keras.config.epsilon())
        return ops.sum(ops.power(apart, self.beta) * error, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this loss."""
        return {
            **super().get_config(),
            "beta": self.beta,
            "from_logits": self.from_logits,
            "dtype": self.dtype,
        }
