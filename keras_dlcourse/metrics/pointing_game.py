"""Whether the maximum of a map lies on the object."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_dlcourse.metrics._maps import MeanOverMaps, distances, length


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class PointingGame(MeanOverMaps):
    """Share of the images whose map has its maximum on the object, or close to it.

    A map that is the same everywhere points nowhere and counts as a miss. The paper averages over
    classes; this is the share of all images.

    Args:
        tolerance: Distance from the object that still counts, in pixels of the map. The paper has
            15 for photos of several hundred pixels; take less for smaller ones.
        name: Name in logs.
        dtype: Of the result.

    Call arguments:
        y_true: Boxes (left, top, right, bottom) in pixels of the map, `(n, 4)`, or `(n, boxes, 4)`
            where images have several objects; the maximum may be in any. Rows that fill up, such
            as -1 four times, are passed over.
        y_pred: Maps `(n, height, width)`.

    Raises:
        ValueError: If `tolerance` is no number of pixels.

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
        self.tolerance = length("tolerance", tolerance)
        super().__init__(name=name, dtype=dtype)

    def values(self, boxes: Any, maps: Any) -> Any:
        """Return 1 for each image whose maximum is on an object, else 0."""
        if boxes.shape[-1] != 4:
            raise ValueError("PointingGame takes boxes (n, 4), no masks")
        width = maps.shape[2]
        flat = ops.reshape(maps, (-1, maps.shape[1] * width))
        top = ops.argmax(flat, axis=1)
        x = ops.cast(top % width, "float32")[:, None] + 0.5
        y = ops.cast(top // width, "float32")[:, None] + 0.5
        hit = ops.any(distances(boxes, x, y) <= self.tolerance, axis=1)
        return ops.logical_and(hit, ops.max(flat, axis=1) > ops.min(flat, axis=1))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this metric again."""
        return {**super().get_config(), "tolerance": self.tolerance}
