"""How many keypoints are where they should be."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_dlcourse.losses._checks import below
from keras_dlcourse.losses.detection.keypoints import matched


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class PCK(keras.metrics.Mean):
    """Percentage of correct keypoints: the share of visible points nearer than a threshold.

    Args:
        threshold: Largest distance that is right, in the units of the points. Of points relative to
            their box (`kd.data.keypoints_to_box`) it is a share of the box's sides: 0.2 is PCK@0.2
            of the box.
        name: Name in logs.
        dtype: Of the result.

    Call arguments:
        y_true: `(rows, points, 3)`: x, y, and above 0 if the point is visible.
        y_pred: `(rows, 2 * points)` or `(rows, points, 2)`.
        sample_weight: How much each row counts, `(rows,)`; None counts all points alike.

    Raises:
        ValueError: If `threshold` is no number above 0, or the numbers of points do not match.

    Example:
        >>> import numpy as np
        >>> true = np.array([[[0.5, 0.5, 1], [0, 0, 1], [0, 0, 0]]], "float32")
        >>> metric = PCK(threshold=0.2)
        >>> metric.update_state(true, np.array([[0.5, 0.6, 1, 1, 9, 9]], "float32"))
        >>> float(metric.result())
        0.5

    Reference:
        Yang and Ramanan, "Articulated Human Detection with Flexible Mixtures of Parts", TPAMI 2013,
        https://doi.org/10.1109/TPAMI.2012.261. There the threshold is a share of the box's longer
        side.
    """

    def __init__(self, threshold: float = 0.2, name: str = "pck", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.threshold = below("threshold", threshold, float("inf"))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take in some rows."""
        y_true, y_pred = (ops.cast(ops.convert_to_tensor(x), "float32") for x in (y_true, y_pred))
        true, visible, found = matched(y_true, y_pred)
        distance = ops.sqrt(ops.sum(ops.square(found - true), axis=-1))
        weights = ops.cast(visible > 0, "float32")
        if sample_weight is not None:
            rows = ops.cast(ops.convert_to_tensor(sample_weight), "float32")
            weights = weights * ops.reshape(rows, (-1, 1))
        super().update_state(ops.cast(distance <= self.threshold, "float32"), weights)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this metric again."""
        return {**super().get_config(), "threshold": self.threshold}
