"""Average precision for multi-label classification."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import check_integer


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class MultilabelAveragePrecision(keras.metrics.Metric):
    """Mean average precision over classes (mAP), for images with any number of labels.

        AP = sum over thresholds of (recall_k - recall_(k-1)) * precision_k

    Scores are counted in bins of equal width from 0 to 1, so that memory use does not grow with the
    data and the metric can be compiled; the result is that of scores rounded to the bins. Classes
    without a positive have no average precision and are excluded from the mean.

    Args:
        classes: Number of classes.
        bins: Number of bins.
        name: Name in logs.
        dtype: Dtype of the result.

    Call arguments:
        y_true: `(rows, classes)`: 1 if the class is present, 0 if it is absent, and NaN or a
            negative value if unknown; unknown labels are ignored.
        y_pred: Probabilities `(rows, classes)`.
        sample_weight: Weight of each row, `(rows,)`.

    Raises:
        TypeError: If an argument is not an integer.
        ValueError: If an argument is below 1, or a shape is not as above.

    Example:
        >>> import numpy as np
        >>> metric = MultilabelAveragePrecision(classes=2)
        >>> metric.update_state(np.array([[1, 0], [0, 1]]), np.array([[0.9, 0.8], [0.1, 0.7]]))
        >>> float(metric.result())  # 1 for the first class, 1/2 for the second
        0.75

    Reference:
        scikit-learn's `average_precision_score`; Everingham et al., "The PASCAL Visual Object
        Classes Challenge", IJCV 2010, https://doi.org/10.1007/s11263-009-0275-4
    """

    def __init__(
        self,
        classes: int,
        bins: int = 1000,
        name: str = "mean_average_precision",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.classes = check_integer("classes", classes)
        self.bins = check_integer("bins", bins)
        # Total weight of negatives and of positives in each bin of each class.
        self.counts = self.add_weight(
            (2, self.classes * self.bins), "zeros", dtype="float32", name="counts"
        )

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Accumulate statistics for a batch of rows."""
        y_true, y_pred = (ops.cast(ops.convert_to_tensor(x), "float32") for x in (y_true, y_pred))
        for name, values in (("y_true", y_true), ("y_pred", y_pred)):
            if len(values.shape) != 2 or values.shape[1] != self.classes:
                raise ValueError(
                    f"{name} must be (rows, {self.classes}), one value per class. Received: "
                    f"{tuple(values.shape)}"
                )
        weights = ops.cast(y_true >= 0, "float32")  # False for NaN
        if sample_weight is not None:
            rows = ops.cast(ops.convert_to_tensor(sample_weight), "float32")
            weights = weights * ops.reshape(rows, (-1, 1))
        # NaN belongs to no bin and counts as the lowest score.
        scores = ops.where(y_pred > 0, y_pred, 0.0)
        bins = ops.cast(ops.clip(scores * self.bins, 0, self.bins - 1), "int32")
        places = ops.reshape(bins + self.bins * ops.arange(self.classes), (-1,))
        for kind, here in enumerate((y_true < 0.5, y_true >= 0.5)):
            amount = ops.where(here, weights, 0.0)
            found = ops.segment_sum(
                ops.reshape(amount, (-1,)), places, num_segments=self.classes * self.bins
            )
            self.counts.assign(self.counts + _row(found, kind))

    def result(self) -> Any:
        """Return the mean over the classes with positives; 0 if no class has any."""
        counts = ops.reshape(self.counts.value, (2, self.classes, self.bins))
        # From the highest threshold down.
        negative, positive = ops.unstack(ops.cumsum(ops.flip(counts, axis=-1), axis=-1))
        listed = negative + positive
        precision = positive / ops.where(listed > 0, listed, 1.0)
        total = positive[:, -1]
        steps = ops.flip(counts[1], axis=-1)
        area = ops.sum(steps * precision, axis=-1) / ops.where(total > 0, total, 1.0)
        known = ops.cast(total > 0, area.dtype)
        return ops.sum(area * known) / ops.maximum(ops.sum(known), 1.0)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this metric."""
        return {**super().get_config(), "classes": self.classes, "bins": self.bins}


def _row(values: Any, kind: int) -> Any:
    """Return two rows: row `kind` holds the values, the other holds zeros."""
    nothing = ops.zeros_like(values)
    return ops.stack([values, nothing] if kind == 0 else [nothing, values])
