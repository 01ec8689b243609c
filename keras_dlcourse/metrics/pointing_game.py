"""Whether the maximum of a map lies on the object."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_dlcourse.metrics._maps import MeanOverMaps, check_length, distances


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class PointingGame(MeanOverMaps):
    """Fraction of images whose map has its maximum on the object, or close to it.

    A constant map points nowhere and counts as a miss. The paper averages over classes; this is
    the fraction of all images.

    Args:
        tolerance: Distance from the object that still counts as a hit, in pixels of the map. The
            paper uses 15 for photos of several hundred pixels; use less for smaller images.
        name: Name in logs.
        dtype: Dtype of the result.

    Call arguments:
        y_true: Boxes (left, top, right, bottom) in pixels of the map, `(n, 4)`, or `(n, boxes, 4)`
            if images have several objects; the maximum may be on any of them. Padding rows, such
            as four -1s, are ignored.
        y_pred: Maps `(n, height, width)`.

    Raises:
        ValueError: If `tolerance` is not a finite number of 0 or more.

    Example:
        >>> import numpy as np
        >>> maps = np.zeros((2, 8, 8))
        >>> maps[:, 2, 5] = 1
        >>> metric = PointingGame(tolerance=0)
        >>> metric.update_state([[4, 1, 7, 4], [0, 4, 4, 8]], maps)
        >>> float(metric.result())
        0.5

    Reference:
        Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016,
        https://arxiv.org/abs/1608.00507
    """

    def __init__(
        self, tolerance: float = 15, name: str = "pointing_game", dtype: Any = None
    ) -> None:
        self.tolerance = check_length("tolerance", tolerance)
        super().__init__(name=name, dtype=dtype)

    def values(self, boxes: Any, maps: Any) -> Any:
        """Return whether each image's maximum is on an object."""
        if boxes.shape[-1] != 4:
            raise ValueError("PointingGame takes boxes (n, 4), not masks")
        width = maps.shape[2]
        flat = ops.reshape(maps, (-1, maps.shape[1] * width))
        top = ops.argmax(flat, axis=1)
        x = ops.cast(top % width, "float32")[:, None] + 0.5
        y = ops.cast(top // width, "float32")[:, None] + 0.5
        hit = ops.any(distances(boxes, x, y) <= self.tolerance, axis=1)
        return ops.logical_and(hit, ops.max(flat, axis=1) > ops.min(flat, axis=1))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this metric."""
        return {**super().get_config(), "tolerance": self.tolerance}
