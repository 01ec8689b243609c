"""Shapes of anchors that fit the boxes of a data set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keras_dlcourse._checks import check_integer

_ROUNDS = 300


@dataclass(frozen=True)
class AnchorShapes:
    """Anchor shapes and how well they fit.

    Attributes:
        shapes: Width and height, `(clusters, 2)`, in the unit of the boxes, by increasing area.
        mean_iou: Mean over boxes of the IoU with the best shape, both at the same center.
        share: Share of the boxes that each shape is best for, `(clusters,)`.
    """

    shapes: NDArray
    mean_iou: float
    share: NDArray


def cluster_shapes(sizes: NDArray, clusters: int = 9, seed: int = 0) -> AnchorShapes:
    """Find anchor shapes by k-means with the distance 1 - IoU.

    Euclidean k-means would spend its clusters on large boxes, whose errors are larger.

    Args:
        sizes: Width and height of the boxes of a data set, `(boxes, 2)`, all in one unit.
        clusters: Number of shapes.
        seed: Seed of the first shapes.

    Raises:
        TypeError: If `clusters` is not an integer.
        ValueError: If sizes are not above 0, or there are fewer different ones than clusters.

    Example:
        >>> sizes = np.array([[10, 20], [11, 19], [40, 40], [42, 38]])
        >>> cluster_shapes(sizes, clusters=2).shapes.tolist()
        [[10.5, 19.5], [41.0, 39.0]]

    Reference:
        Redmon and Farhadi, "YOLO9000: Better, Faster, Stronger", CVPR 2017,
        https://arxiv.org/abs/1612.08242, section 2
    """
    clusters = check_integer("clusters", clusters)
    sizes = np.asarray(sizes, "float64")
    if sizes.ndim != 2 or sizes.shape[1] != 2 or not (np.isfinite(sizes) & (sizes > 0)).all():
        raise ValueError(
            "sizes must be widths and heights (boxes, 2) above 0. Received: shape "
            f"{sizes.shape}, least {sizes.min() if sizes.size else None}. Remove empty boxes."
        )
    different = len(np.unique(sizes, axis=0))
    if different < clusters:
        raise ValueError(
            f"clusters must be at most the number of different sizes, {different}. "
            f"Received: {clusters}"
        )
    shapes = _spread(sizes, clusters, np.random.default_rng(seed))
    best = np.full(len(sizes), -1)
    for _ in range(_ROUNDS):
        nearest = _shape_iou(sizes, shapes).argmax(axis=1)
        if np.array_equal(nearest, best):
            break
        best = nearest
        used = np.unique(best)  # a shape that is best for no box stays as it is
        shapes[used] = [sizes[best == number].mean(axis=0) for number in used]
    shapes = shapes[np.argsort(shapes.prod(axis=1), kind="stable")]
    iou = _shape_iou(sizes, shapes)
    share = np.bincount(iou.argmax(axis=1), minlength=clusters) / len(sizes)
    return AnchorShapes(shapes, float(iou.max(axis=1).mean()), share)


def _spread(sizes: NDArray, clusters: int, random: np.random.Generator) -> NDArray:
    """Choose first shapes far apart, as k-means++ does."""
    chosen = [sizes[random.integers(len(sizes))]]
    while len(chosen) < clusters:
        far = (1 - _shape_iou(sizes, np.array(chosen)).max(axis=1)) ** 2
        far += np.finfo(float).tiny  # sizes that differ in the last digit have an IoU of 1
        chosen.append(sizes[random.choice(len(sizes), p=far / far.sum())])
    return np.array(chosen)


def _shape_iou(sizes: NDArray, shapes: NDArray) -> NDArray:
    common = np.minimum(sizes[:, None], shapes).prod(axis=-1)
    return common / (sizes.prod(axis=-1)[:, None] + shapes.prod(axis=-1) - common)
