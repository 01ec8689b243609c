"""Conversion between box formats in common orders and units, based on Keras's own conversions.

The name of a format lists the four values in order: `x` and `y` are the left and top edge (with
`center_`, the center), a second `x` and `y` the right and bottom edge, `w` and `h` the width and
height. With `rel_`, values are fractions of the image's width and height, otherwise pixels.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_dlcourse._checks import check_one_of

# Formats missing in Keras: the course uses (x, y, h, w). Each maps to a Keras format and an order.
_REORDERED = {
    "xyhw": ("xywh", (0, 1, 3, 2)),
    "rel_xyhw": ("rel_xywh", (0, 1, 3, 2)),
    "rel_center_xyhw": ("rel_center_xywh", (0, 1, 3, 2)),
}
FORMATS = (
    "xyxy", "yxyx", "xywh", "center_xywh", "center_yxhw",
    "rel_xyxy", "rel_yxyx", "rel_xywh", "rel_center_xywh", *_REORDERED,
)  # fmt: skip
_ROUNDING = 1e-4  # tolerance for rounding errors, as a fraction of the image size


def convert_boxes(
    boxes: Any,
    source: str,
    target: str,
    height: int | None = None,
    width: int | None = None,
) -> Any:
    """Convert boxes to another format.

    Args:
        boxes: Tensor or array of shape `(..., 4)`.
        source: Format of `boxes`, one of `kd.data.BOX_FORMATS`.
        target: Format to convert to, one of `kd.data.BOX_FORMATS`.
        height: Height of the image in pixels; needed to convert between pixels and fractions
            (`rel_`).
        width: Width of the image in pixels; needed like `height`.

    Returns:
        Boxes of the same shape. Float types are kept, others become float32. An array if `boxes` is
        an array or list, else a tensor.

    Raises:
        ValueError: If a format is unknown, the last axis is not of size 4, or `height` or `width`
            is missing.

    Example:
        >>> box = np.array([50, 25, 25, 100])  # x, y, h, w
        >>> convert_boxes(box, "xyhw", "xyxy").tolist()
        [50.0, 25.0, 150.0, 50.0]
        >>> convert_boxes(box, "xyhw", "rel_xyxy", height=100, width=200).tolist()
        [0.25, 0.25, 0.75, 0.5]
    """
    check_format("source", source)
    check_format("target", target)
    if is_relative(source) != is_relative(target) and (height is None or width is None):
        raise ValueError(
            f"Converting from {source} to {target} needs height and width of the image."
        )
    if isinstance(boxes, np.ndarray | list | tuple):
        tensor = keras.ops.convert_to_tensor(boxes)
        return keras.ops.convert_to_numpy(convert_boxes(tensor, source, target, height, width))
    if not boxes.shape or boxes.shape[-1] != 4:
        raise ValueError(f"boxes must have shape (..., 4). Received: shape {tuple(boxes.shape)}")
    dtype = keras.backend.standardize_dtype(boxes.dtype)
    dtype = dtype if "float" in dtype else "float32"
    boxes = keras.ops.cast(boxes, dtype)
    if source == target:
        return boxes
    source, order = _REORDERED.get(source, (source, None))
    if order is not None:
        boxes = _reorder(boxes, order)
    target, order = _REORDERED.get(target, (target, None))
    # Keras requires sizes even between relative formats, where 1 has no effect.
    boxes = keras.utils.bounding_boxes.convert_format(
        boxes, source=source, target=target, height=height or 1, width=width or 1, dtype=dtype
    )
    return boxes if order is None else _reorder(boxes, order)


def check_boxes(
    boxes: Any,
    bounding_box_format: str,
    height: int | None = None,
    width: int | None = None,
    name: str = "boxes",
) -> np.ndarray:
    """Return boxes as an array, or raise ValueError for boxes that are invalid in this format.

    Rows that consist only of NaN are missing boxes and are accepted.

    Args:
        boxes: Array `(..., 4)`.
        bounding_box_format: The format of `boxes`.
        height: Height of the image in pixels. If `height` and `width` are given, boxes in pixels
            must be within the image; boxes in fractions always must.
        width: Width of the image in pixels.
        name: Name of the boxes in messages.

    Raises:
        ValueError: If a box is partly NaN, has a negative size, or extends outside the image by
            more than rounding errors, or if values look like pixels in a relative format or like
            fractions in a pixel format.

    Example:
        >>> check_boxes([[0.1, 0.2, 0.5, 0.1]], "rel_xyxy")
        Traceback (most recent call last):
        ...
        ValueError: boxes has a negative size in 1 of 1 boxes, first at 0: [0.1, 0.2, 0.5, 0.1]\
 as rel_xyxy.
    """
    check_format("bounding_box_format", bounding_box_format)
    values = np.asarray(boxes, "float64")
    if values.ndim < 1 or values.shape[-1] != 4:
        raise ValueError(f"{name} must have shape (..., 4). Received: shape {values.shape}")
    rows = values.reshape(-1, 4)
    missing = np.isnan(rows).all(1, keepdims=True)
    _refuse(name, "NaN or infinite values", ~np.isfinite(np.where(missing, 0, rows)), rows)
    rows = np.where(missing, 0, rows)
    largest = np.abs(rows).max(initial=0)
    if is_relative(bounding_box_format):
        if largest > 2:
            raise ValueError(
                f"{name} has values up to {largest:.4g}, which look like pixels and are invalid in "
                f"{bounding_box_format}. Pass their actual format, or divide by the image size."
            )
        kind, height, width, rounding = "rel_xyxy", 1, 1, _ROUNDING
    else:
        if 0 < largest <= 1:
            raise ValueError(
                f"{name} has no value above 1, which in {bounding_box_format} is within one pixel. "
                "The values look like fractions of the image. Use a format that begins with rel_."
            )
        kind, rounding = "xyxy", _ROUNDING * max(largest, 1)
    ends = convert_boxes(rows, bounding_box_format, kind)
    told = f" as {bounding_box_format}"
    _refuse(name, "a negative size", ends[:, 2:] - ends[:, :2] < -rounding, rows, told)
    if height is not None and width is not None:
        outside = (ends < -rounding) | (ends > np.tile([width, height], 2) + rounding)
        _refuse(name, "an edge outside the image", outside, rows, told)
    return values


def check_format(name: str, value: Any) -> str:
    """Return `value` if it is the name of a box format, else raise an error."""
    return str(check_one_of(name, value, tuple(FORMATS)))


def is_relative(bounding_box_format: str) -> bool:
    """Return whether a format is in fractions of the image size."""
    return bounding_box_format.startswith("rel_")


def _reorder(boxes: Any, order: tuple[int, ...]) -> Any:
    return keras.ops.take(boxes, order, axis=-1)


def _refuse(name: str, what: str, wrong: np.ndarray, rows: np.ndarray, told: str = "") -> None:
    where = np.flatnonzero(wrong.any(1))
    if where.size:
        first = np.round(rows[where[0]], 4).tolist()
        raise ValueError(
            f"{name} has {what} in {where.size} of {len(rows)} boxes, first at {where[0]}: "
            f"{first}{told}."
        )
