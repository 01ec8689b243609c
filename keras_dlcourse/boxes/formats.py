"""Boxes in every order and unit that people write them in, on top of Keras's own conversions.

The name of a format says what the four numbers are, in their order: `x` and `y` are the left and
top edge (`center_` the middle), a second `x` and `y` the right and bottom edge, `w` and `h` width
and height. `rel_` means shares of the image's width and height, else they are pixels.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

# What Keras lacks: the course writes (x, y, h, w). To a format that it has, by order of numbers.
_REORDERED = {
    "xyhw": ("xywh", (0, 1, 3, 2)),
    "rel_xyhw": ("rel_xywh", (0, 1, 3, 2)),
    "rel_center_xyhw": ("rel_center_xywh", (0, 1, 3, 2)),
}
FORMATS = (
    "xyxy", "yxyx", "xywh", "center_xywh", "center_yxhw",
    "rel_xyxy", "rel_yxyx", "rel_xywh", "rel_center_xywh", *_REORDERED,
)  # fmt: skip
_ROUNDING = 1e-4  # in shares of the image: what float32 and the way there may have added


def convert_boxes(
    boxes: Any,
    source: str,
    target: str,
    height: int | None = None,
    width: int | None = None,
) -> Any:
    """Return boxes in another format.

    Args:
        boxes: Tensor or array of shape `(..., 4)`.
        source: The format that they are in, one of `kd.data.BOX_FORMATS`.
        target: The format wanted.
        height: Height of the image in pixels; needed between pixels and shares (`rel_`).
        width: Width of the image in pixels, likewise.

    Returns:
        Boxes of the same shape, float32 or the float type that came: an array if they came as
        one or as a list, else a tensor.

    Raises:
        ValueError: If a format is unknown, the last axis is not 4, or a size is missing.

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
        raise ValueError(f"from {source} to {target} needs height and width of the image.")
    if isinstance(boxes, np.ndarray | list | tuple):
        tensor = keras.ops.convert_to_tensor(boxes)
        return keras.ops.convert_to_numpy(convert_boxes(tensor, source, target, height, width))
    if not boxes.shape or boxes.shape[-1] != 4:
        raise ValueError(f"boxes must have four numbers each, got shape {tuple(boxes.shape)}.")
    dtype = keras.backend.standardize_dtype(boxes.dtype)
    dtype = dtype if "float" in dtype else "float32"
    boxes = keras.ops.cast(boxes, dtype)
    if source == target:
        return boxes
    source, order = _REORDERED.get(source, (source, None))
    if order is not None:
        boxes = _reordered(boxes, order)
    target, order = _REORDERED.get(target, (target, None))
    # Sizes of 1 where only the kind of shares changes: Keras asks for them all the same.
    boxes = keras.utils.bounding_boxes.convert_format(
        boxes, source=source, target=target, height=height or 1, width=width or 1, dtype=dtype
    )
    return boxes if order is None else _reordered(boxes, order)


def check_boxes(
    boxes: Any,
    bounding_box_format: str,
    height: int | None = None,
    width: int | None = None,
    name: str = "boxes",
) -> np.ndarray:
    """Return boxes as an array, or say which one cannot be a box in this format.

    Rows that are NaN all through are missing boxes, and pass.

    Args:
        boxes: Array `(..., 4)`.
        bounding_box_format: The format that they are said to be in.
        height: Height of the image in pixels. With both sizes, boxes in pixels are checked to lie
            within it; those in shares always are.
        width: Width of the image in pixels.
        name: What they are called in messages.

    Raises:
        ValueError: If a box has NaN in part, a negative size, or ends outside the image, by more
            than rounding; if pixels came where shares were said, or the other way round.

    Example:
        >>> check_boxes([[0.1, 0.2, 0.5, 0.1]], "rel_xyxy")
        Traceback (most recent call last):
        ...
        ValueError: boxes has a negative size in 1 of 1 boxes, the first at 0: [0.1, 0.2, 0.5, 0.1]\
 as rel_xyxy.
    """
    check_format("bounding_box_format", bounding_box_format)
    values = np.asarray(boxes, "float64")
    if values.ndim < 1 or values.shape[-1] != 4:
        raise ValueError(f"{name} must have four numbers each, got shape {values.shape}.")
    rows = values.reshape(-1, 4)
    missing = np.isnan(rows).all(1, keepdims=True)
    _refuse(name, "NaN or infinite numbers", ~np.isfinite(np.where(missing, 0, rows)), rows)
    rows = np.where(missing, 0, rows)
    largest = np.abs(rows).max(initial=0)
    if is_relative(bounding_box_format):
        if largest > 2:
            raise ValueError(
                f"{name} holds numbers up to {largest:.4g}, which {bounding_box_format} cannot: "
                "they look like pixels. Name their format, or divide by the size of the image."
            )
        kind, height, width, rounding = "rel_xyxy", 1, 1, _ROUNDING
    else:
        if 0 < largest <= 1:
            raise ValueError(
                f"{name} holds no number above 1, so as {bounding_box_format} all lie within one "
                "pixel: they look like shares of the image. Name a format that begins with rel_."
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
    """Return the name of a format if it is one, else raise ValueError."""
    if value not in FORMATS:
        raise ValueError(f"{name} must be one of {', '.join(FORMATS)}. Received: {value!r}")
    return str(value)


def is_relative(bounding_box_format: str) -> bool:
    """Tell whether a format is in shares of the image."""
    return bounding_box_format.startswith("rel_")


def _reordered(boxes: Any, order: tuple[int, ...]) -> Any:
    return keras.ops.take(boxes, order, axis=-1)


def _refuse(name: str, what: str, wrong: np.ndarray, rows: np.ndarray, told: str = "") -> None:
    where = np.flatnonzero(wrong.any(1))
    if where.size:
        first = np.round(rows[where[0]], 4).tolist()
        raise ValueError(
            f"{name} has {what} in {where.size} of {len(rows)} boxes, the first at {where[0]}: "
            f"{first}{told}."
        )
