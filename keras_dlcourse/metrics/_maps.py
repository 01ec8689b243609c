"""Shared by the metrics of maps: input checks and a mean over images."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import check_number


class MeanOverMaps(keras.metrics.Metric):
    """Mean of one value per image; subclasses compute it in `values`."""

    def __init__(self, name: str, dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.total = self.add_variable((), initializer="zeros", name="total")
        self.count = self.add_variable((), initializer="zeros", name="count")

    def values(self, boxes: Any, maps: Any) -> Any:
        """Return one value per image, shape `(n,)`."""
        raise NotImplementedError(f"{type(self).__name__} must define values")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Accumulate statistics for a batch of images.

        Args:
            y_true: Ground truth of each image, as documented in the class.
            y_pred: Maps `(n, height, width)`.
            sample_weight: Weight of each image, `(n,)`; None weights all equally.
        """
        true, maps = check_maps(y_true, y_pred)
        values = ops.cast(self.values(true, maps), self.dtype)
        weights = weights_of(sample_weight, values)
        self.total.assign_add(ops.sum(values * weights))
        self.count.assign_add(ops.sum(weights))

    def result(self) -> Any:
        """Return the mean so far; 0 if there were no images."""
        return ops.divide_no_nan(self.total, self.count)


def weights_of(sample_weight: Any, values: Any) -> Any:
    """Return a weight for each image, in the dtype of `values`."""
    if sample_weight is None:
        return ops.ones_like(values)
    return ops.reshape(ops.cast(sample_weight, values.dtype), values.shape)


def check_maps(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Return boxes `(n, boxes, 4)`, or masks with their shape unchanged, and maps, in float32.

    Raises:
        ValueError: If a shape is not supported.
    """
    true = ops.cast(ops.convert_to_tensor(y_true), "float32")
    maps = ops.cast(ops.convert_to_tensor(y_pred), "float32")
    if len(maps.shape) == 4 and maps.shape[-1] == 1:
        maps = maps[..., 0]
    if len(maps.shape) != 3:
        raise ValueError(
            f"y_pred must be maps of shape (n, height, width). Received: {tuple(maps.shape)}"
        )
    if is_mask(true, maps):
        return true, maps
    if len(true.shape) not in (2, 3) or true.shape[-1] != 4:
        raise ValueError(
            "y_true must be boxes (left, top, right, bottom) in pixels of the maps, of shape "
            f"(n, 4) or (n, boxes, 4). Received: {tuple(true.shape)} for maps of shape "
            f"{tuple(maps.shape)}"
        )
    if None not in (true.shape[0], maps.shape[0]) and true.shape[0] != maps.shape[0]:
        raise ValueError(
            "y_true must have one row of boxes per map. Received: "
            f"{true.shape[0]} rows of boxes for {maps.shape[0]} maps"
        )
    return (true[:, None] if len(true.shape) == 2 else true), maps


def is_mask(true: Any, maps: Any) -> bool:
    """Return whether the ground truth is a mask with the size of the maps."""
    return len(true.shape) == 3 and tuple(true.shape[1:]) == tuple(maps.shape[1:])


def distances(boxes: Any, x: Any, y: Any) -> Any:
    """Return the distances of points from boxes in pixels: 0 inside, 1e9 from an empty box.

    Args:
        boxes: `(n, boxes, ..., 4)`, already expanded to broadcast with the points.
        x: x coordinates of the points.
        y: y coordinates of the points.
    """
    left, top, right, bottom = (boxes[..., side] for side in range(4))
    across = ops.maximum(ops.maximum(left - x, x - right), 0.0)
    down = ops.maximum(ops.maximum(top - y, y - bottom), 0.0)
    empty = ops.logical_or(right <= left, bottom <= top)
    return ops.where(empty, 1e9, ops.sqrt(across**2 + down**2))


def check_share(name: str, value: Any, lowest: float = 0.0) -> float:
    """Return `value` as a float if it is above `lowest` and at most 1, else raise an error."""
    return check_number(name, value, above=lowest, most=1)


def check_length(name: str, value: Any) -> float:
    """Return `value` as a float if it is finite and at least 0, else raise an error."""
    return check_number(name, value, least=0)
