"""Calibration of scores: of the predictions with score 0.8, 80 % should be correct."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import check_integer


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class ExpectedCalibrationError(keras.metrics.Metric):
    """Expected calibration error (ECE): mean gap between scores and accuracy.

        ECE = sum over bins of n_bin / n * |accuracy in the bin - mean score in the bin|

    With several classes, it uses the score of the top class and whether that class is correct; with
    a single sigmoid, the score itself and the label. Bins have equal width from 0 to 1.

    Args:
        bins: Number of bins.
        name: Name in logs.
        dtype: Dtype of the result.

    Call arguments:
        y_true: Class numbers `(n,)` or `(n, 1)`, or one-hot `(n, classes)`.
        y_pred: Probabilities `(n, classes)`, or `(n, 1)` of one sigmoid.
        sample_weight: Weight of each row, `(n,)`.

    Raises:
        TypeError: If `bins` is not an integer.
        ValueError: If `bins` is below 1, or a shape is not one of these.

    Example:
        >>> import numpy as np
        >>> metric = ExpectedCalibrationError(bins=5)
        >>> metric.update_state(np.array([0, 1]), np.array([[0.9, 0.1], [0.9, 0.1]]))
        >>> round(float(metric.result()), 4)  # mean score 0.9, accuracy 0.5
        0.4

    Reference:
        Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 2,
        https://arxiv.org/abs/1706.04599
    """

    def __init__(
        self, bins: int = 15, name: str = "expected_calibration_error", dtype: Any = None
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.bins = check_integer("bins", bins)
        # Total weight in each bin, and by how much correct answers exceed scores there.
        self.counts = self.add_weight((self.bins,), "zeros", dtype="float32", name="counts")
        self.excess = self.add_weight((self.bins,), "zeros", dtype="float32", name="excess")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Accumulate statistics for a batch of rows."""
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        score, right = _answers(y_true, ops.cast(y_pred, "float32"))
        weights = ops.ones_like(score)
        if sample_weight is not None:
            given = ops.cast(ops.convert_to_tensor(sample_weight), "float32")
            weights = ops.reshape(given, (-1,))
        # A bin includes its upper edge, as in scikit-learn.
        places = ops.cast(ops.clip(ops.ceil(score * self.bins) - 1, 0, self.bins - 1), "int32")
        for found, amount in ((self.counts, weights), (self.excess, weights * (right - score))):
            found.assign_add(ops.segment_sum(amount, places, num_segments=self.bins))

    def result(self) -> Any:
        """Return the error, from 0 to 1; 0 if there were no rows."""
        total = ops.sum(self.counts)
        return ops.sum(ops.abs(self.excess)) / ops.where(total > 0, total, 1.0)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this metric."""
        return {**super().get_config(), "bins": self.bins}


def _answers(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Return the score of each row's answer, and 1 if that is correct, else 0."""
    if len(y_pred.shape) != 2 or len(y_true.shape) not in (1, 2):
        raise ValueError(
            "y_pred must be (n, classes) and y_true (n,), (n, 1) or (n, classes). Received: "
            f"{tuple(y_pred.shape)} and {tuple(y_true.shape)}"
        )
    classes = y_pred.shape[1]
    one_hot = len(y_true.shape) == 2 and y_true.shape[1] == classes and classes > 1
    labels = ops.argmax(y_true, axis=1) if one_hot else ops.reshape(y_true, (-1,))
    if classes == 1:
        return y_pred[:, 0], ops.cast(labels, "float32")
    answer = ops.cast(ops.argmax(y_pred, axis=1), "int32")
    return ops.max(y_pred, axis=1), ops.cast(ops.cast(labels, "int32") == answer, "float32")
