"""How much of the object a map covers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse.metrics._maps import MeanOverMaps, check_share, distances, is_mask


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class ObjectCoverage(MeanOverMaps):
    """Mean fraction of the object's pixels where the map reaches a threshold.

    It distinguishes a map that marks the whole object from one that marks only its most
    discriminative part. A map that is high everywhere covers everything, so read this metric
    together with `MaxBoxAccuracy`.

    Args:
        threshold: Fraction of the map's maximum at which a pixel counts as covered.
        name: Name in logs.
        dtype: Dtype of the result.

    Call arguments:
        y_true: Boxes (left, top, right, bottom) in pixels of the map, `(n, 4)` or `(n, boxes, 4)`,
            where the union of all boxes is the object and padding rows, such as four -1s, are
            ignored; or masks `(n, height, width)`, above 0 on the object. An image without an
            object gives 0.
        y_pred: Maps `(n, height, width)`; a map without positive values covers nothing.

    Raises:
        ValueError: If `threshold` is not above 0 and at most 1.

    Example:
        >>> maps = np.zeros((1, 8, 8))
        >>> maps[0, :, :3] = 1
        >>> metric = ObjectCoverage()
        >>> metric.update_state([[2, 0, 6, 8]], maps)
        >>> float(metric.result())
        0.25
    """

    def __init__(
        self, threshold: float = 0.15, name: str = "object_coverage", dtype: Any = None
    ) -> None:
        self.threshold = check_share("threshold", threshold)
        super().__init__(name=name, dtype=dtype)

    def values(self, boxes: Any, maps: Any) -> Any:
        """Return the covered fraction of each image's object."""
        if is_mask(boxes, maps):
            objects = boxes > 0
        else:
            places = np.indices((1, 1, *maps.shape[1:]), dtype="float32")[2:] + 0.5
            y, x = (ops.convert_to_tensor(side) for side in places)
            far = distances(boxes[:, :, None, None, :], x, y)
            objects = ops.any(far == 0, axis=1)
        peak = ops.max(maps, axis=(1, 2), keepdims=True)
        covered = ops.logical_and(maps >= self.threshold * peak, peak > 0)
        pixels = ops.cast(objects, "float32")
        both = ops.sum(ops.where(covered, pixels, 0.0), axis=(1, 2))
        return ops.divide_no_nan(both, ops.sum(pixels, axis=(1, 2)))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this metric."""
        return {**super().get_config(), "threshold": self.threshold}
