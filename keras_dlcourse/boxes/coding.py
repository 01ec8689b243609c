"""Codes: what a network predicts of a box, relative to its anchor, and back.

Each coder has `encode(boxes, anchors)` and `decode(codes, anchors)`. Boxes are left, top, right,
bottom; anchors are center x, center y, width, height (`Anchors.boxes`) in the same unit; both are
`(..., anchors, 4)`, and the anchors broadcast. All compute in float32, also under mixed precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_dlcourse._checks import check_number

_LEAST = 1e-6  # as a fraction of the anchor's side: boxes without area have finite codes
_MOST = 16.0  # of the exponent: boxes of a network that is not trained yet are finite


class OffsetCoder:
    """SSD's codes: offset of the center and logarithm of the size, in the order y, x, h, w.

        t_y = (y - y_a) / h_a * scale_y      t_h = log(h / h_a) * scale_h
        t_x = (x - x_a) / w_a * scale_x      t_w = log(w / w_a) * scale_w

    Files with these codes are decoded by MediaPipe's ObjectDetector, with the same scales in their
    metadata. The scales are the inverse of the variances of other papers: (0.1, 0.1, 0.2, 0.2).

    Args:
        scales: Factors of y, x, h and w, which bring the codes to a standard deviation of about 1.

    Raises:
        TypeError: If the scales are not numbers.
        ValueError: If there are not four, or one is not above 0.

    Example:
        >>> coder, anchor = OffsetCoder(), [[0.5, 0.5, 0.2, 0.2]]
        >>> codes = coder.encode([[0.4, 0.4, 0.6, 0.8]], anchor)
        >>> [round(code, 3) for code in codes[0].numpy().tolist()]
        [5.0, 0.0, 3.466, 0.0]
        >>> [round(side, 3) for side in coder.decode(codes, anchor)[0].numpy().tolist()]
        [0.4, 0.4, 0.6, 0.8]

    Reference:
        Girshick et al. (R-CNN), CVPR 2014, https://arxiv.org/abs/1311.2524, appendix C; the order
        and the scales are those of the TensorFlow Object Detection API
    """

    order = "y, x, h, w"

    def __init__(self, scales: Sequence[float] = (10.0, 10.0, 5.0, 5.0)) -> None:
        self.scales = [check_number("scales", scale, above=0) for scale in scales]
        if len(self.scales) != 4:
            raise ValueError(f"scales must be four numbers: y, x, h, w. Received: {scales!r}")

    def encode(self, boxes: Any, anchors: Any) -> Any:
        """Return the codes of boxes, `(..., anchors, 4)`; a box without area has finite ones."""
        (x, y, width, height), (x_a, y_a, width_a, height_a) = _centers(boxes), _unstack(anchors)
        codes = (
            (y - y_a) / height_a,
            (x - x_a) / width_a,
            ops.log(ops.maximum(height / height_a, _LEAST)),
            ops.log(ops.maximum(width / width_a, _LEAST)),
        )
        return _stack(code * scale for code, scale in zip(codes, self.scales, strict=True))

    def decode(self, codes: Any, anchors: Any) -> Any:
        """Return the boxes of codes, `(..., anchors, 4)`."""
        codes = [code / scale for code, scale in zip(_unstack(codes), self.scales, strict=True)]
        x_a, y_a, width_a, height_a = _unstack(anchors)
        x, y = codes[1] * width_a + x_a, codes[0] * height_a + y_a
        height, width = (
            ops.exp(ops.minimum(code, _MOST)) * side
            for code, side in ((codes[2], height_a), (codes[3], width_a))
        )
        return _corners(x, y, width, height)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this coder."""
        return {"scales": self.scales}


class DistanceCoder:
    """FCOS's codes: distances of the four edges from the anchor's center, in sides of the anchor.

        l = (x_a - left) / w_a    t = (y_a - top) / h_a    r = (right - x_a) / w_a    b = ...

    With anchors from `make_anchors(image_shape, strides)` the unit is the stride. A center outside
    the box has negative distances; a network whose last activation is exponential or softplus
    predicts none.

    Example:
        >>> codes = DistanceCoder().encode([[0.0, 0.0, 3.0, 2.0]], [[1.0, 1.0, 1.0, 1.0]])
        >>> codes.numpy().tolist()
        [[1.0, 1.0, 2.0, 1.0]]

    Reference:
        Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection", ICCV 2019,
        https://arxiv.org/abs/1904.01355, equation 1
    """

    order = "left, top, right, bottom"

    def encode(self, boxes: Any, anchors: Any) -> Any:
        """Return the codes of boxes, `(..., anchors, 4)`."""
        left, top, right, bottom = _unstack(boxes)
        x, y, width, height = _unstack(anchors)
        return _stack(
            ((x - left) / width, (y - top) / height, (right - x) / width, (bottom - y) / height)
        )

    def decode(self, codes: Any, anchors: Any) -> Any:
        """Return the boxes of codes, `(..., anchors, 4)`."""
        left, top, right, bottom = _unstack(codes)
        x, y, width, height = _unstack(anchors)
        return _stack((x - left * width, y - top * height, x + right * width, y + bottom * height))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this coder."""
        return {}


class GridCoder:
    """YOLO's codes: center in the cell, from 0 to 1, and the square roots of width and height.

        t_x = (x - left edge of the cell) / width of the cell    t_w = sqrt(w)
        t_y = (y - top edge of the cell) / height of the cell    t_h = sqrt(h)

    Anchors are the cells: `make_anchors(image_shape, [stride])`. Widths and heights are in the unit
    of the boxes, in the paper in fractions of the image. The root makes an error of a few pixels
    count more in small boxes.

    Example:
        >>> codes = GridCoder().encode([[0.0, 0.0, 0.25, 0.25]], [[0.25, 0.25, 0.5, 0.5]])
        >>> codes.numpy().tolist()
        [[0.25, 0.25, 0.5, 0.5]]

    Reference:
        Redmon et al., "You Only Look Once", CVPR 2016, https://arxiv.org/abs/1506.02640, section 2
    """

    order = "x, y, sqrt(w), sqrt(h)"

    def encode(self, boxes: Any, anchors: Any) -> Any:
        """Return the codes of boxes, `(..., anchors, 4)`."""
        (x, y, width, height), (x_a, y_a, width_a, height_a) = _centers(boxes), _unstack(anchors)
        return _stack(
            (
                (x - x_a) / width_a + 0.5,
                (y - y_a) / height_a + 0.5,
                ops.sqrt(ops.maximum(width, 0.0)),
                ops.sqrt(ops.maximum(height, 0.0)),
            )
        )

    def decode(self, codes: Any, anchors: Any) -> Any:
        """Return the boxes of codes, `(..., anchors, 4)`; a negative root counts as 0."""
        x, y, width, height = _unstack(codes)
        x_a, y_a, width_a, height_a = _unstack(anchors)
        return _corners(
            (x - 0.5) * width_a + x_a,
            (y - 0.5) * height_a + y_a,
            ops.square(ops.relu(width)),
            ops.square(ops.relu(height)),
        )

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this coder."""
        return {}


def _unstack(values: Any) -> list[Any]:
    values = ops.cast(ops.convert_to_tensor(values), "float32")  # half has three digits
    return list(ops.unstack(values, 4, axis=-1))


def _stack(parts: Any) -> Any:
    return ops.stack(list(parts), axis=-1)


def _centers(boxes: Any) -> tuple[Any, Any, Any, Any]:
    left, top, right, bottom = _unstack(boxes)
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


def _corners(x: Any, y: Any, width: Any, height: Any) -> Any:
    return _stack((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
