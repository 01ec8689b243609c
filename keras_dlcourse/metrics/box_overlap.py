"""Metrics of how well predicted boxes overlap the true ones."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_dlcourse.boxes.formats import check_format
from keras_dlcourse.boxes.overlap import Overlap, edges
from keras_dlcourse.metrics._maps import check_share


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class BoxIoU(keras.metrics.Mean):
    """Mean intersection over union of predicted and true boxes.

    Args:
        bounding_box_format: Meaning of the four values, one of `kd.data.BOX_FORMATS`.
        name: Name in logs.
        dtype: Dtype of the result.

    Call arguments:
        y_true: Boxes `(n, 4)` or `(n, boxes, 4)`; NaN marks missing boxes, which are ignored.
        y_pred: Boxes of the same shape; a negative width or height counts as 0.
        sample_weight: Weight of each image, `(n,)`; None weights all equally.

    Raises:
        ValueError: If the format is unknown.

    Example:
        >>> metric = BoxIoU("xyxy")
        >>> metric.update_state([[0, 0, 2, 2], [0, 0, 2, 2]], [[0, 0, 2, 2], [0, 0, 2, 1]])
        >>> float(metric.result())
        0.75
    """

    def __init__(self, bounding_box_format: str, name: str = "box_iou", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.bounding_box_format = check_format("bounding_box_format", bounding_box_format)

    def values(self, iou: Any) -> Any:
        """Return the values to average, given the intersection over union of each box."""
        return iou

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Accumulate statistics for a batch of boxes."""
        iou, there = overlaps(self.bounding_box_format, y_true, y_pred)
        super().update_state(self.values(iou), _weights(there, sample_weight))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this metric."""
        return {**super().get_config(), "bounding_box_format": self.bounding_box_format}


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class BoxAccuracy(BoxIoU):
    """Fraction of boxes whose intersection over union with the true box is at least `iou`.

    Args:
        bounding_box_format: As for `BoxIoU`.
        iou: Minimum intersection over union for a box to count as correct.
        name: Name in logs.
        dtype: Dtype of the result.

    Raises:
        ValueError: If the format is unknown or `iou` is outside 0..1.

    Example:
        >>> metric = BoxAccuracy("xyxy", iou=0.6)
        >>> metric.update_state([[0, 0, 2, 2], [0, 0, 2, 2]], [[0, 0, 2, 2], [0, 0, 2, 1]])
        >>> float(metric.result())
        0.5
    """

    def __init__(
        self,
        bounding_box_format: str,
        iou: float = 0.5,
        name: str = "box_accuracy",
        dtype: Any = None,
    ) -> None:
        super().__init__(bounding_box_format, name=name, dtype=dtype)
        self.iou = check_share("iou", iou)

    def values(self, iou: Any) -> Any:
        """Return 1 for each correct box, else 0."""
        return ops.cast(iou >= self.iou, "float32")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this metric."""
        return {**super().get_config(), "iou": self.iou}


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class LocalizationAccuracy(keras.metrics.Mean):
    """Fraction of images with the correct class and a box on the object.

    It needs two outputs at once: call it on what `model.predict` returns, or pass it to
    `kd.models.MultitaskModel` as one of its `joint_metrics`.

    Args:
        bounding_box_format: Meaning of the four values of a box.
        iou: Minimum intersection over union for a box to count as correct.
        label: Name of the output with the class scores.
        box: Name of the output with the box.
        name: Name in logs.
        dtype: Dtype of the result.

    Call arguments:
        y_true: A dictionary of class numbers `(n,)` and boxes `(n, 4)`. An image that lacks one
            of the two (class number below 0, or NaN in the box) is ignored.
        y_pred: A dictionary of scores `(n, classes)` and boxes `(n, 4)`.
        sample_weight: Weight of each image, `(n,)`; None weights all equally.

    Raises:
        ValueError: If the format is unknown or `iou` is outside 0..1.

    Example:
        >>> import numpy as np
        >>> true = {"label": np.array([0, 1]), "box": np.array([[0, 0, 2, 2], [0, 0, 2, 2]])}
        >>> metric = LocalizationAccuracy("xyxy")
        >>> metric.update_state(true, {"label": np.eye(2), "box": true["box"] + [[0], [2]]})
        >>> float(metric.result())  # the second box is shifted by its own size
        0.5
    """

    def __init__(
        self,
        bounding_box_format: str,
        iou: float = 0.5,
        label: str = "label",
        box: str = "box",
        name: str = "localization_accuracy",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.bounding_box_format = check_format("bounding_box_format", bounding_box_format)
        self.iou = check_share("iou", iou)
        self.label, self.box = label, box

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Accumulate statistics for a batch of images."""
        classes = ops.convert_to_tensor(y_true[self.label])
        if len(classes.shape) == 2:
            classes = ops.squeeze(classes, axis=1)
        classes = ops.cast(classes, "int32")
        found = ops.cast(ops.argmax(y_pred[self.label], axis=-1), "int32")
        iou, there = overlaps(self.bounding_box_format, y_true[self.box], y_pred[self.box])
        right = ops.logical_and(found == classes, iou >= self.iou)
        there = ops.logical_and(there, classes >= 0)
        super().update_state(ops.cast(right, "float32"), _weights(there, sample_weight))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this metric."""
        return {
            **super().get_config(),
            "bounding_box_format": self.bounding_box_format,
            "iou": self.iou,
            "label": self.label,
            "box": self.box,
        }


def overlaps(bounding_box_format: str, y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Return the intersection over union of each box, and whether it has a true box."""
    y_true, y_pred = (ops.cast(ops.convert_to_tensor(each), "float32") for each in (y_true, y_pred))
    there = ops.logical_not(ops.any(ops.isnan(y_true), axis=-1))
    y_true = ops.where(there[..., None], y_true, 0.0)
    return Overlap(*(edges(each, bounding_box_format) for each in (y_true, y_pred))).iou, there


def _weights(there: Any, sample_weight: Any) -> Any:
    there = ops.cast(there, "float32")
    if sample_weight is None:
        return there
    weights = ops.cast(ops.convert_to_tensor(sample_weight), "float32")
    rows = ops.reshape(weights, (-1, *(1 for _ in there.shape[1:])))
    return there * rows
