"""How often the box around a map matches the object's box, at the best threshold."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse._checks import check_integer
from keras_dlcourse.boxes.of_masks import boxes_around, intersection_over_union
from keras_dlcourse.metrics._maps import check_maps, check_share, weights_of
from keras_dlcourse.metrics._numpy import numbers


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class MaxBoxAccuracy(keras.metrics.Metric):
    """Fraction of images with a correct box, at the single threshold that is best overall.

    The box of a map s, scaled to 0..1, encloses the largest connected component of s >= t:

        BoxAcc(t) = mean over images of [IoU(box(s, t), true box) >= iou]
        MaxBoxAcc = max over t of BoxAcc(t)

    Methods differ in how their maps are scaled; using each method's best threshold makes them
    comparable. As in the paper, it is chosen on the same data that is evaluated: for other data,
    use the `best_threshold` found on a validation set.

    Connected components are found by SciPy, so this metric computes in NumPy: call it on what
    `model.predict` returns. In `compile` it works on PyTorch, and on TensorFlow with
    `run_eagerly=True`; on JAX, Keras traces metrics even then.

    Args:
        iou: Minimum intersection over union for a box to count as correct.
        thresholds: Number of thresholds to try, evenly spaced from 0 to 1.
        name: Name in logs.
        dtype: Dtype of the result.

    Call arguments:
        y_true: Boxes (left, top, right, bottom) in pixels of the map, `(n, 4)`, or `(n, boxes, 4)`
            if images have several objects; a match with any of them counts. Padding rows, such as
            four -1s, are ignored.
        y_pred: Maps `(n, height, width)`; a constant map has no box and counts as wrong.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> maps = np.zeros((1, 8, 8))
        >>> maps[0, 1:4, 2:6] = 0.5
        >>> maps[0, 2, 3] = 1
        >>> metric = MaxBoxAccuracy(thresholds=10)
        >>> metric.update_state([[2, 1, 6, 4]], maps)
        >>> float(metric.result()), metric.best_threshold
        (1.0, 0.1)

    Reference:
        Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020,
        https://arxiv.org/abs/2001.07437
    """

    def __init__(
        self,
        iou: float = 0.5,
        thresholds: int = 100,
        name: str = "max_box_accuracy",
        dtype: Any = None,
    ) -> None:
        self.iou = check_share("iou", iou)
        self.thresholds = check_integer("thresholds", thresholds)
        super().__init__(name=name, dtype=dtype)
        self.right = self.add_variable((thresholds,), initializer="zeros", name="right")
        self.count = self.add_variable((), initializer="zeros", name="count")

    @property
    def best_threshold(self) -> float:
        """The threshold with the highest accuracy so far; the lowest one in a tie."""
        return int(np.argmax(numbers(self.right, "MaxBoxAccuracy"))) / self.thresholds

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Accumulate statistics for a batch of images.

        Args:
            y_true: Boxes.
            y_pred: Maps.
            sample_weight: Weight of each image, `(n,)`; None weights all equally.

        Raises:
            ValueError: If the shapes do not match, or the call is being compiled.
        """
        boxes, maps = (numbers(tensor, "MaxBoxAccuracy") for tensor in check_maps(y_true, y_pred))
        if boxes.shape[-1] != 4:
            raise ValueError("MaxBoxAccuracy takes boxes (n, 4), not masks")
        right = np.array(
            [self._is_right(*pair) for pair in zip(boxes, maps, strict=True)], "float32"
        )
        weights = numbers(
            weights_of(sample_weight, ops.ones((len(maps),), "float32")), "MaxBoxAccuracy"
        )
        self.right.assign_add(ops.convert_to_tensor(weights @ right, self.dtype))
        self.count.assign_add(ops.convert_to_tensor(weights.sum(), self.dtype))

    def result(self) -> Any:
        """Return the accuracy at the best threshold; 0 if there were no images."""
        return ops.divide_no_nan(ops.max(self.right), self.count)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this metric."""
        return {**super().get_config(), "iou": self.iou, "thresholds": self.thresholds}

    def _is_right(self, boxes: np.ndarray, plane: np.ndarray) -> np.ndarray:
        """Return whether the box of a map is correct at each threshold."""
        right = np.zeros(self.thresholds, bool)
        span = plane.max() - plane.min()
        if not span > 0:
            return right
        scaled = (plane - plane.min()) / span
        for number in range(self.thresholds):
            box = boxes_around(scaled >= number / self.thresholds)[0]
            right[number] = (intersection_over_union(box, boxes) >= self.iou).any()
        return right
