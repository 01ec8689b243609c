"""Anchors: boxes on a grid for each level of a pyramid, as constants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keras_dlcourse._checks import check_integer, check_number

Shapes = Sequence[Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class Anchors:
    """Boxes on the grids of one or more feature maps.

    The order is that of the outputs of a network, `(rows, columns, per_cell * values)` for each
    level, reshaped to `(-1, values)` and concatenated: by level, row, column, and shape.

    Attributes:
        boxes: Center x, center y, width, height in fractions of the image, format
            `"rel_center_xywh"`, `(anchors, 4)`, float32.
        levels: The level of each anchor, `(anchors,)`.
        grids: Rows and columns of each level.
        per_cell: Number of anchors in each cell of each level.
        image_shape: Height and width of the image in pixels.
    """

    boxes: NDArray
    levels: NDArray
    grids: tuple[tuple[int, int], ...]
    per_cell: tuple[int, ...]
    image_shape: tuple[int, int]

    def __len__(self) -> int:
        """Return the number of anchors."""
        return len(self.boxes)

    @property
    def corners(self) -> NDArray:
        """Left, top, right, bottom in fractions of the image, `(anchors, 4)`, not clipped."""
        center, half = self.boxes[:, :2], self.boxes[:, 2:] / 2
        return np.concatenate([center - half, center + half], axis=1)


def make_anchors(
    image_shape: Sequence[int],
    strides: Sequence[int],
    sizes: Sequence[float | Sequence[float]] | None = None,
    ratios: Sequence[float] = (1.0,),
    shapes: Shapes | None = None,
) -> Anchors:
    """Place anchors in the middle of each cell of one or more feature maps.

    A feature map of stride s has `ceil(height / s)` rows, as under padding `"same"`. Anchor-free
    detectors use the default: one square per cell, with sides of the stride.

    Args:
        image_shape: Height and width of the image in pixels; a third value is ignored.
        strides: Pixels per cell of each level.
        sizes: For each level, one or more sizes in pixels: square roots of areas. None for the
            strides. RetinaNet has, at stride s, `4 s`, `4 s * 2 ** (1 / 3)`, `4 s * 2 ** (2 / 3)`.
        ratios: Height / width of the anchors; each size comes in all of them.
        shapes: Instead of sizes and ratios, the (width, height) in pixels of the anchors of each
            level, for instance from `cluster_shapes`.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If a value is not above 0, or there are not as many sizes as strides.

    Example:
        >>> anchors = make_anchors((64, 96), strides=(16, 32), sizes=(20, 40), ratios=(0.5, 1, 2))
        >>> anchors.grids, len(anchors)
        (((4, 6), (2, 3)), 90)
        >>> (anchors.boxes[1] * (96, 64, 96, 64)).round(2).tolist()  # in the first cell, a square
        [8.0, 8.0, 20.0, 20.0]

    Reference:
        Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016,
        https://arxiv.org/abs/1512.02325, section 2.2; Lin et al. (RetinaNet), ICCV 2017,
        https://arxiv.org/abs/1708.02002, section 4
    """
    height, width = (check_integer("image_shape", side) for side in tuple(image_shape)[:2])
    strides = [check_integer("strides", stride) for stride in strides]
    if shapes is None:
        levels = strides if sizes is None else list(sizes)
        ratios = [check_number("ratios", ratio, above=0) for ratio in ratios]
        shapes = [
            [_shape(size, ratio) for size in np.atleast_1d(each).tolist() for ratio in ratios]
            for each in levels
        ]
    elif sizes is not None:
        raise ValueError("shapes replace sizes: pass one of them. Received: both")
    if len(shapes) != len(strides) or not all(map(len, shapes)):
        raise ValueError(
            f"there must be anchors for each of {len(strides)} strides. Received: sizes or shapes "
            f"of {len(shapes)} levels"
        )
    parts, grids = [], []
    for stride, each in zip(strides, shapes, strict=True):
        grid = -(-height // stride), -(-width // stride)
        y, x = ((np.arange(count) + 0.5) / count for count in grid)
        pixels = [[check_number("shapes", side, above=0) for side in pair] for pair in each]
        cells = np.zeros((*grid, len(each), 4))
        cells[..., 0], cells[..., 1] = x[:, None], y[:, None, None]
        cells[..., 2:] = np.array(pixels) / (width, height)
        parts.append(cells.reshape(-1, 4))
        grids.append(grid)
    return Anchors(
        np.concatenate(parts).astype("float32"),
        np.repeat(np.arange(len(parts)), [len(part) for part in parts]),
        tuple(grids),
        tuple(map(len, shapes)),
        (height, width),
    )


def _shape(size: float, ratio: float) -> tuple[float, float]:
    """Return the width and height of an area of `size` squared."""
    root = np.sqrt(ratio)
    return check_number("sizes", size, above=0) / root, size * root
