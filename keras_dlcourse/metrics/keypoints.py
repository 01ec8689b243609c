"""Percentage of correct keypoints (PCK)."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import check_number
from keras_dlcourse.losses.detection.keypoints import match_points


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class PCK(keras.metrics.Mean):
    """Percentage of correct keypoints: fraction of visible points within a threshold distance.

    Args:
        threshold: Largest distance that counts as correct, in the units of the points. For points
            relative to their box (`kd.data.keypoints_to_box`) it is a fraction of the box's sides:
            0.2 is PCK@0.2 of the box.
        name: Name in logs.
        dtype: Dtype of the result.

    Call arguments:
        y_true: `(rows, points, 3)`: x, y, and above 0 if the point is visible.
        y_pred: `(rows, 2 * points)` or `(rows, points, 2)`.
        sample_weight: Weight of each row, `(rows,)`; None weights all points equally.

    Raises:
        ValueError: If `threshold` is not above 0, or the numbers of points differ.

    Example:
        >>> import numpy as np
        >>> true = np.array([[[0.5, 0.5, 1], [0, 0, 1], [0, 0, 0]]], "float32")
        >>> metric = PCK(threshold=0.2)
        >>> metric.update_state(true, np.array([[0.5, 0.6, 1, 1, 9, 9]], "float32"))
        >>> float(metric.result())
        0.5

    Reference:
        Yang and Ramanan, "Articulated Human Detection with Flexible Mixtures of Parts", TPAMI 2013,
        https://doi.org/10.1109/TPAMI.2012.261. In that paper the threshold is a fraction of the
        box's longer side.
    """

    def __init__(self, threshold: float = 0.2, name: str = "pck", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.threshold = check_number("threshold", threshold, above=0)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Accumulate statistics for a batch of rows."""
        y_true, y_pred = (ops.cast(ops.convert_to_tensor(x), "float32") for x in (y_true, y_pred))
        true, visible, found = match_points(y_true, y_pred)
        distance = ops.sqrt(ops.sum(ops.square(found - true), axis=-1))
        weights = ops.cast(visible > 0, "float32")
        if sample_weight is not None:
            rows = ops.cast(ops.convert_to_tensor(sample_weight), "float32")
            weights = weights * ops.reshape(rows, (-1, 1))
        super().update_state(ops.cast(distance <= self.threshold, "float32"), weights)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this metric."""
        return {**super().get_config(), "threshold": self.threshold}
