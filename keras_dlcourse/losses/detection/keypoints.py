"""Loss of keypoints, over the visible ones."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import check_number
from keras_dlcourse.losses.detection.boxes import smooth_l1


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class KeypointLoss(keras.losses.Loss):
    """Smooth L1 loss of coordinates, averaged over the visible points of each row.

        loss = sum over points of v * (smooth_l1(x) + smooth_l1(y)) / sum over points of v

    A row without visible points has loss 0.

    Args:
        beta: Error at which the loss becomes linear, in the units of the points.
        reduction: As for every Keras loss.
        name: Name of the loss.
        dtype: Dtype of the result.

    Call arguments:
        y_true: `(rows, points, 3)`: x, y and the weight of the point; a weight of 0 marks an
            invisible point, whose coordinates are ignored.
        y_pred: `(rows, 2 * points)`, x and y of each point in turn, as
            `kd.models.keypoint_regressor` returns them; or `(rows, points, 2)`.
        sample_weight: Weight of each row.

    Raises:
        ValueError: If `beta` is not above 0, or the numbers of points differ.

    Example:
        >>> import numpy as np
        >>> true = np.array([[[0.5, 0.5, 1], [0, 0, 0]]], "float32")
        >>> float(KeypointLoss(beta=1.0)(true, np.array([[0.5, 1.5, 9, 9]], "float32")))
        0.5
    """

    def __init__(
        self,
        beta: float = 0.1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "keypoint_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.beta = check_number("beta", beta, above=0)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each row."""
        true, visible, found = match_points(y_true, y_pred)
        each = smooth_l1(true, found, self.beta)
        total = ops.sum(visible, axis=-1)
        whole = ops.where(total > 0, total, ops.ones_like(total))
        return ops.sum(ops.where(visible > 0, each * visible, 0.0), axis=-1) / whole

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this loss."""
        return {**super().get_config(), "beta": self.beta, "dtype": self.dtype}


def match_points(y_true: Any, y_pred: Any) -> tuple[Any, Any, Any]:
    """Return true points `(rows, points, 2)`, their weights `(rows, points)`, predicted points."""
    if len(y_true.shape) != 3 or y_true.shape[-1] != 3:
        raise ValueError(
            "y_true must be keypoints (rows, points, 3): x, y and visibility. Received: "
            f"{tuple(y_true.shape)}"
        )
    count = y_true.shape[1]
    if tuple(y_pred.shape[1:]) not in ((2 * count,), (count, 2)):
        raise ValueError(
            f"for {count} true keypoints, y_pred must be (rows, {2 * count}) or (rows, "
            f"{count}, 2). Received: {tuple(y_pred.shape)}"
        )
    found = ops.reshape(y_pred, (-1, count, 2))
    visible = y_true[..., 2]
    # Invisible points may have any coordinates, even NaN.
    return ops.where(visible[..., None] > 0, y_true[..., :2], ops.zeros_like(found)), visible, found
