"""Areas, overlap and distance of pairs of boxes."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_dlcourse.boxes.formats import convert_boxes, is_relative


def edges(boxes: Any, bounding_box_format: str, image_shape: tuple[int, int] | None = None) -> Any:
    """Return left, top, right and bottom: in pixels, or in fractions if the size is unknown."""
    relative = is_relative(bounding_box_format) and image_shape is None
    height, width = image_shape or (None, None)
    target = "rel_xyxy" if relative else "xyxy"
    return convert_boxes(boxes, bounding_box_format, target, height, width)


class Overlap:
    """Overlap measures of two boxes, `(..., 4)` as left, top, right, bottom."""

    def __init__(self, one: Any, other: Any) -> None:
        # One tensor per edge takes half the time of slicing the last axis.
        self.edges = [ops.unstack(boxes, axis=-1) for boxes in (one, other)]
        (left, top, right, bottom), (left2, top2, right2, bottom2) = self.edges
        self.sides = [(ops.relu(r - l), ops.relu(b - t)) for l, t, r, b in self.edges]  # noqa: E741
        across = ops.relu(ops.minimum(right, right2) - ops.maximum(left, left2))
        down = ops.relu(ops.minimum(bottom, bottom2) - ops.maximum(top, top2))
        common = across * down
        (width, height), (width2, height2) = self.sides
        self.union = width * height + width2 * height2 - common
        self.iou = quotient(common, self.union)
        self.around = (
            ops.maximum(right, right2) - ops.minimum(left, left2),
            ops.maximum(bottom, bottom2) - ops.minimum(top, top2),
        )

    @property
    def hull(self) -> Any:
        """Area of the smallest box around both."""
        return self.around[0] * self.around[1]

    @property
    def distance(self) -> Any:
        """Squared distance of the centers, divided by the squared diagonal of the hull."""
        (left, top, right, bottom), (left2, top2, right2, bottom2) = self.edges
        x, y = (left + right - left2 - right2) / 2, (top + bottom - top2 - bottom2) / 2
        diagonal = ops.square(self.around[0]) + ops.square(self.around[1])
        return quotient(ops.square(x) + ops.square(y), diagonal)

    def angle(self, number: int) -> Any:
        """Return the arctangent of width / height of the first (0) or second (1) box."""
        width, height = self.sides[number]
        # arctan2 has no derivative at (0, 0)
        empty = ops.logical_and(width <= 0, height <= 0)
        return ops.arctan2(width, ops.where(empty, 1.0, height))


def quotient(part: Any, whole: Any) -> Any:
    """Return `part / whole`, or 0 where both are 0."""
    return part / ops.where(whole > 0, whole, 1.0)


def pairwise_iou(one: Any, other: Any) -> Any:
    """Return the intersection over union (IoU) of each box with each other box.

    Args:
        one: Boxes `(..., n, 4)` as left, top, right, bottom.
        other: Boxes `(..., m, 4)` in the same unit; leading axes broadcast.

    Returns:
        `(..., n, m)`, from 0 to 1. A box without area overlaps no other, nor itself.

    Example:
        >>> pairwise_iou([[0.0, 0, 2, 2]], [[1.0, 0, 3, 2], [0, 0, 2, 2]])[0, 1].numpy().item()
        1.0
    """
    one, other = (ops.convert_to_tensor(boxes) for boxes in (one, other))
    return Overlap(ops.expand_dims(one, -2), ops.expand_dims(other, -3)).iou
