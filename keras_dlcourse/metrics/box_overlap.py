"""How well predicted boxes lie on the true ones."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_dlcourse.boxes.formats import check_format
from keras_dlcourse.boxes.overlap import Overlap, edges
from keras_dlcourse.metrics._maps import share


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class BoxIoU(keras.metrics.Mean):
    """Mean intersection over union of predicted and true boxes.

    Args:
        bounding_box_format: What the four numbers are, one of `kd.data.BOX_FORMATS`.
        name: Name in logs.
        dtype: Of the result.

    Call arguments:
        y_true: Boxes `(n, 4)` or `(n, boxes, 4)`; those that are NaN are missing and passed over.
        y_pred: Boxes of the same shape; a negative width or height counts as 0.
        sample_weight: How much each image counts, `(n,)`; None counts all alike.

    Raises:
        ValueError: For a format that is none.

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
        """Return what is averaged, given the intersection over union of each box."""
        return iou

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take in some boxes."""
        iou, there = overlaps(self.bounding_box_format, y_true, y_pred)
        super().update_state(self.values(iou), _weights(there, sample_weight))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this metric again."""
        return {**super().get_config(), "bounding_box_format": self.bounding_box_format}


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class BoxAccuracy(BoxIoU):
    """Share of the boxes that lie on the true ones with an intersection over union of at least 0.5.

    Args:
        bounding_box_format: As for `BoxIoU`.
        iou: From which intersection over union on a box is right.
        name: Name in logs.
        dtype: Of the result.

    Raises:
        ValueError: For a format that is none, or an `iou` outside 0..1.

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
        self.iou = share("iou", iou)

    def values(self, iou: Any) -> Any:
        """Return 1 for each box that is right."""
        return ops.cast(iou >= self.iou, "float32")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this metric again."""
        return {**super().get_config(), "iou": self.iou}


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class LocalizationAccuracy(keras.metrics.Mean):
    """Share of the images with the right class and a box on the object.

    It takes two outputs together: call it on what `model.predict` returns, or give it to
    `kd.models.MultitaskModel` as one of its `joint_metrics`.

    Args:
        bounding_box_format: What the four numbers of a box are.
        iou: From which intersection over union on a box is right.
        label: Name of the output with the scores of classes.
        box: Name of the output with the box.
        name: Name in logs.
        dtype: Of the result.

    Call arguments:
        y_true: A dictionary of class numbers `(n,)` and boxes `(n, 4)`. An image without either
            (a number below 0, NaN) is passed over.
        y_pred: A dictionary of scores `(n, classes)` and boxes `(n, 4)`.
        sample_weight: How much each image counts, `(n,)`; None counts all alike.

    Raises:
        ValueError: For a format that is none, or an `iou` outside 0..1.

    Example:
        >>> import numpy as np
        >>> true = {"label": np.array([0, 1]), "box": np.array([[0, 0, 2, 2], [0, 0, 2, 2]])}
        >>> metric = LocalizationAccuracy("xyxy")
        >>> metric.update_state(true, {"label": np.eye(2), "box": true["box"] + [[0], [2]]})
        >>> float(metric.result())  # the second box is off by its own size
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
        self.iou = share("iou", iou)
        self.label, self.box = label, box

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take in some images."""
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
        """Return the arguments that make this metric again."""
        return {
            **super().get_config(),
            "bounding_box_format": self.bounding_box_format,
            "iou": self.iou,
            "label": self.label,
            "box": self.box,
        }


def overlaps(bounding_box_format: str, y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Return the intersection over union of each box, and whether there is a true one."""
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
