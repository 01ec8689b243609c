"""How well each class is found among others that may be there as well."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import positive_int


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class MultilabelAveragePrecision(keras.metrics.Metric):
    """Mean over classes of average precision (mAP), for images with any number of labels.

        AP = sum over thresholds of (recall_k - recall_(k-1)) * precision_k

    Scores are counted in bins of equal width from 0 to 1, so that the memory does not grow with the
    data and compiled code can run it; the result is that of scores rounded to the bins. Classes
    without a positive have no average precision and are left out of the mean.

    Args:
        classes: How many classes there are.
        bins: How many bins.
        name: Name in logs.
        dtype: Of the result.

    Call arguments:
        y_true: `(rows, classes)`: 1 where a class is there, 0 where it is not, NaN or below 0 where
            that is not known, which leaves it out.
        y_pred: Probabilities `(rows, classes)`.
        sample_weight: How much each row counts, `(rows,)`.

    Raises:
        ValueError: If a number is no whole one above 0, or the shapes are others.

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
        self.classes = positive_int("classes", classes)
        self.bins = positive_int("bins", bins)
        # How much of negatives and positives is in each bin of each class.
        self.counts = self.add_weight(
            (2, self.classes * self.bins), "zeros", dtype="float32", name="counts"
        )

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take in some rows."""
        y_true, y_pred = (ops.cast(ops.convert_to_tensor(x), "float32") for x in (y_true, y_pred))
        for name, values in (("y_true", y_true), ("y_pred", y_pred)):
            if len(values.shape) != 2 or values.shape[1] != self.classes:
                raise ValueError(
                    f"{name} must be (rows, {self.classes}), one number a class. Received: "
                    f"{tuple(values.shape)}"
                )
        weights = ops.cast(y_true >= 0, "float32")  # which NaN is not
        if sample_weight is not None:
            rows = ops.cast(ops.convert_to_tensor(sample_weight), "float32")
            weights = weights * ops.reshape(rows, (-1, 1))
        # A score of NaN, which no bin holds, counts as the lowest.
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
        """Return the mean over the classes that have positives; 0 without any."""
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
        """Return the arguments that make this metric again."""
        return {**super().get_config(), "classes": self.classes, "bins": self.bins}


def _row(values: Any, kind: int) -> Any:
    """Return two rows, of which one holds the values and the other nothing."""
    nothing = ops.zeros_like(values)
    return ops.stack([values, nothing] if kind == 0 else [nothing, values])
