"""COCO's and VOC's measures, from what became of each detection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from keras_dlcourse.metrics._detection_matching import Verdicts

MEASURES = (
    "map", "map_50", "map_75", "map_small", "map_medium", "map_large",
    "mar_1", "mar_10", "mar", "mar_small", "mar_medium", "mar_large",
)  # fmt: skip
"""The measures, in COCO's order."""

PROTOCOLS: dict[str, NDArray | None] = {
    "coco": np.linspace(0.0, 1.0, 101),
    "voc07": np.linspace(0.0, 1.0, 11),
    "voc10": None,
}
"""Recall at which the precision is averaged; None for the area under the curve."""


@dataclass(frozen=True)
class DetectionScores:
    """Measures of detections. What nothing can be said of, for lack of objects, is NaN.

    Attributes:
        map: Mean over classes and IoU thresholds of the average precision (AP).
        map_50: The same at an IoU of 0.5.
        map_75: The same at an IoU of 0.75.
        map_small: `map` of objects below 32 x 32 pixels.
        map_medium: `map` of objects from there to 96 x 96 pixels.
        map_large: `map` of larger objects.
        mar_1: Mean over classes and IoU thresholds of the recall with one detection per image.
        mar_10: The same with ten detections.
        mar: The same with `limit` detections, COCO's `mar_100`.
        mar_small: `mar` of objects below 32 x 32 pixels.
        mar_medium: `mar` of objects from there to 96 x 96 pixels.
        mar_large: `mar` of larger objects.
        classes: The class numbers that occur, `(classes,)`.
        average_precision: AP by IoU threshold and class, `(thresholds, classes)`.
        recall: Recall by IoU threshold and class, `(thresholds, classes)`.
        precision: Precision by IoU threshold, recall and class, `(thresholds, 101, classes)`; with
            11 recalls under VOC's rules of 2007, and without any under those of 2010.
    """

    map: float
    map_50: float
    map_75: float
    map_small: float
    map_medium: float
    map_large: float
    mar_1: float
    mar_10: float
    mar: float
    mar_small: float
    mar_medium: float
    mar_large: float
    classes: NDArray
    average_precision: NDArray
    recall: NDArray
    precision: NDArray


def summarize(
    verdicts: Verdicts, objects: dict[int, NDArray], thresholds: NDArray, limit: int, protocol: str
) -> DetectionScores:
    """Return all measures.

    Args:
        verdicts: Those of all images; their rows in the order of the images.
        objects: Number of objects that count in each area range, for each class.
        thresholds: IoU thresholds, `(thresholds,)`.
        limit: Detections of a class in an image that count.
        protocol: One of `PROTOCOLS`.
    """
    grid = PROTOCOLS[protocol]
    classes = np.array(sorted({*objects, *verdicts.label.tolist()}), np.int64)
    ranges = len(next(iter(objects.values()))) if objects else 1
    points = 0 if grid is None else len(grid)
    shape = (ranges, len(thresholds), len(classes))
    area, recall = np.full((2, *shape), np.nan)
    precision = np.full((*shape[:2], points, len(classes)), np.nan)
    fewer = np.full((2, *shape[1:]), np.nan)  # recall with 1 and 10 detections
    order = np.argsort(verdicts.label, kind="stable")
    sides: tuple[Literal["left", "right"], ...] = ("left", "right")
    begin, end = (np.searchsorted(verdicts.label[order], classes, side=side) for side in sides)
    for number, label in enumerate(classes.tolist()):
        counts = objects.get(label, np.zeros(ranges, int))
        rows = order[begin[number] : end[number]]
        rows = rows[np.argsort(-verdicts.score[rows], kind="stable")]
        right, ignored = (
            _unpack(bits[rows], ranges, len(thresholds))
            for bits in (verdicts.right, verdicts.ignored)
        )
        for index in np.flatnonzero(counts):
            hits = np.cumsum(right[index], axis=1).astype(float)
            misses = np.cumsum(~right[index] & ~ignored[index], axis=1).astype(float)
            recall[index, :, number] = hits[:, -1] / counts[index] if len(rows) else 0
            curve = hits / (misses + hits + np.spacing(1))
            curve = np.maximum.accumulate(curve[:, ::-1], axis=1)[:, ::-1]
            if grid is None:
                steps = np.where(right[index], curve, 0)
                area[index, :, number] = steps.sum(axis=1) / counts[index]
                continue
            found = hits / counts[index]
            for lane in range(len(thresholds)):
                places = np.searchsorted(found[lane], grid)
                precision[index, lane, :, number] = np.append(curve[lane], 0)[places]
        if counts[0]:
            for few, most in enumerate((1, 10)):
                kept = right[0][:, verdicts.rank[rows] < min(most, limit)]
                fewer[few, :, number] = kept.sum(axis=1) / counts[0]
    return _scores(thresholds, classes, precision, area, recall, fewer)


def _scores(
    thresholds: NDArray,
    classes: NDArray,
    precision: NDArray,
    area: NDArray,
    recall: NDArray,
    fewer: NDArray,
) -> DetectionScores:
    averaged = precision if precision.shape[2] else area
    at = [np.flatnonzero(np.isclose(thresholds, value)) for value in (0.5, 0.75)]
    values = [_mean(averaged[0]), *(_mean(averaged[0][rows]) for rows in at)]
    # VOC's rules know no areas.
    values += [_mean(averaged[index]) if len(averaged) > 1 else np.nan for index in (1, 2, 3)]
    values += [*map(_mean, fewer), _mean(recall[0])]
    values += [_mean(recall[index]) if len(recall) > 1 else np.nan for index in (1, 2, 3)]
    each = precision[0].mean(axis=1) if precision.shape[2] else area[0]
    return DetectionScores(
        **dict(zip(MEASURES, map(float, values), strict=True)),
        classes=classes, average_precision=each, recall=recall[0], precision=precision[0],
    )  # fmt: skip


def _mean(values: NDArray) -> float:
    known = values[~np.isnan(values)]
    return float(np.mean(known)) if known.size else float("nan")


def pack(lanes: NDArray) -> NDArray:
    """Store a bit for each range of areas and threshold."""
    return np.packbits(lanes, axis=1)


def _unpack(bits: NDArray, ranges: int, thresholds: int) -> NDArray:
    """Return the bits as `(ranges, thresholds, rows)`."""
    lanes = np.unpackbits(bits, axis=1, count=ranges * thresholds).astype(bool)
    return np.ascontiguousarray(lanes.T).reshape(ranges, thresholds, -1)
