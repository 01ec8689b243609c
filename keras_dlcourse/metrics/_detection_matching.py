"""Which detections find an object: COCO's and VOC's rules, for many images at once, in NumPy.

The detections of one image and class, and the objects among which they look, are a group. Groups
are independent, so the first detections of all groups are matched in one step, then all the second
ones, and so on: a loop over ranks instead of one over images, classes, thresholds and areas.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BUDGET = 4_000_000  # elements of the largest temporary array


@dataclass(frozen=True)
class Objects:
    """The true objects of some images, in the order of the images.

    Attributes:
        image: Number of the image of each, `(n,)`.
        label: Class number of each, `(n,)`.
        box: Left, top, width, height, `(n, 4)`.
        area: Area in pixels, `(n,)`.
        ignored: Whether finding it counts for nothing, `(n,)`: crowds, and VOC's difficult objects.
    """

    image: NDArray
    label: NDArray
    box: NDArray
    area: NDArray
    ignored: NDArray


@dataclass(frozen=True)
class Found:
    """The detections of some images, in the order of the images.

    Attributes:
        image: Number of the image of each, `(n,)`.
        label: Class number of each, `(n,)`.
        box: Left, top, width, height, `(n, 4)`.
        score: Score of each, `(n,)`.
    """

    image: NDArray
    label: NDArray
    box: NDArray
    score: NDArray


@dataclass(frozen=True)
class Rule:
    """How detections and objects are matched.

    Attributes:
        thresholds: Least IoU, `(thresholds,)`.
        areas: Smallest and largest area of each range, `(ranges, 2)`.
        limit: Detections that count in one image and class; None for all.
        coco: Whether the rules are COCO's, else VOC's.
    """

    thresholds: NDArray
    areas: NDArray
    limit: int | None
    coco: bool


@dataclass(frozen=True)
class Verdicts:
    """What became of each detection, sorted by image, class, and falling score.

    Attributes:
        label: Class number, `(n,)`.
        score: Score, `(n,)`.
        rank: Place among the detections of the same image and class, `(n,)`.
        right: Whether it found an object, `(n, ranges * thresholds)`.
        ignored: Whether it counts for nothing, `(n, ranges * thresholds)`.
    """

    label: NDArray
    score: NDArray
    rank: NDArray
    right: NDArray
    ignored: NDArray


def judge(objects: Objects, found: Found, rule: Rule) -> Verdicts:
    """Match the detections of some images with their objects."""
    keys = [each.image.astype(np.int64) for each in (objects, found)]
    labels, numbers = np.unique(np.concatenate([objects.label, found.label]), return_inverse=True)
    keys = [
        image * len(labels) + number
        for image, number in zip(keys, np.split(numbers, [len(objects.label)]), strict=True)
    ]
    by_group, by_score = np.argsort(keys[0], kind="stable"), np.lexsort((-found.score, keys[1]))
    object_key, key = keys[0][by_group], keys[1][by_score]
    rank = np.arange(len(key)) - np.searchsorted(key, key)
    if rule.limit is not None:
        few = rank < rule.limit
        by_score, key, rank = by_score[few], key[few], rank[few]
    lanes = len(rule.areas) * len(rule.thresholds)
    right, ignored = np.zeros((2, len(key), lanes), bool)
    box = found.box[by_score]
    first = np.searchsorted(object_key, key)
    sizes = np.searchsorted(object_key, key, side="right") - first
    if rule.coco:
        area = box[:, 2] * box[:, 3]
        beyond = (area[:, None] < rule.areas[:, 0]) | (area[:, None] > rule.areas[:, 1])
        ignored |= np.repeat(beyond, len(rule.thresholds), axis=1)
    for rows in _chunks(key, sizes, lanes):
        starts = np.flatnonzero(np.diff(key[rows], prepend=-1))
        group = np.cumsum(np.diff(key[rows], prepend=-1) != 0) - 1
        members = first[rows][starts, None] + np.arange(sizes[rows].max())
        there = np.arange(members.shape[1]) < sizes[rows][starts, None]
        members = by_group[np.where(there, members, 0)]
        match = _coco if rule.coco else _voc
        hit, void = match(box[rows], group, objects, members, there, rule)
        right[rows] = hit & ~void
        ignored[rows] = np.where(hit, void, ignored[rows])
    return Verdicts(found.label[by_score], found.score[by_score], rank, right, ignored)


def _chunks(key: NDArray, sizes: NDArray, lanes: int) -> Iterator[NDArray]:
    """Yield rows of groups of about the same number of objects, few enough for the memory."""
    rows = np.flatnonzero(sizes)
    # Groups stay together, and their detections in order.
    rows = rows[np.lexsort((key[rows], sizes[rows]))]
    if not len(rows):
        return
    begin, ends = 0, np.append(np.flatnonzero(np.diff(key[rows])) + 1, len(rows))
    for number, end in enumerate(ends):
        following = ends[number + 1] if number + 1 < len(ends) else None
        if following is None or (following - begin) * lanes * sizes[rows[end]] > _BUDGET:
            yield rows[begin:end]
            begin = end


def _coco(
    box: NDArray,
    group: NDArray,
    objects: Objects,
    members: NDArray,
    there: NDArray,
    rule: Rule,
) -> tuple[NDArray, NDArray]:
    """Return which detections take an object, and whether that one counts for nothing.

    A detection takes the free object of the highest IoU, the last of equal ones, and one that
    counts before one that does not. A crowd stays free, and is compared by the share of the
    detection that lies in it.
    """
    crowd = objects.ignored[members]
    overlap = np.where(there[group], _iou(box, objects.box[members], group, crowd), -1.0)
    lanes = len(rule.areas), len(rule.thresholds)
    hit, void = np.zeros((2, len(box), *lanes), bool)
    least = np.minimum(rule.thresholds, 1 - 1e-10)
    # Only these can take an object.
    hopeful = np.flatnonzero(overlap.max(axis=1) >= least.min())
    overlap, group = overlap[hopeful], group[hopeful]
    area = objects.area[members]
    beyond = (area[:, None] < rule.areas[:, :1]) | (area[:, None] > rule.areas[:, 1:])
    passed = beyond | crowd[:, None]  # (groups, ranges, objects)
    # IoU as its place among those of a detection, exact and without ties: the last is the highest.
    order = np.argsort(np.argsort(overlap, axis=1, kind="stable"), axis=1).astype(np.int32)
    worth = order[:, None] + np.where(passed[group], 0, members.shape[1]).astype(np.int32)
    free = np.ones((len(members), *lanes, members.shape[1]), bool)
    for rows in _turns(group):
        own = group[rows]
        allowed = free[own] & (overlap[rows, None] >= least[:, None])[:, None]
        values = np.where(allowed, worth[rows][:, :, None], -1)
        best = values.argmax(axis=-1)
        found = np.take_along_axis(values, best[..., None], axis=-1)[..., 0] >= 0
        where = np.nonzero(found)
        taken = best[where]
        hit[(hopeful[rows][where[0]], *where[1:])] = True
        void[(hopeful[rows][where[0]], *where[1:])] = passed[own[where[0]], where[1], taken]
        free[(own[where[0]], *where[1:], taken)] = crowd[own[where[0]], taken]
    return hit.reshape(len(box), -1), void.reshape(len(box), -1)


def _voc(
    box: NDArray,
    group: NDArray,
    objects: Objects,
    members: NDArray,
    there: NDArray,
    rule: Rule,
) -> tuple[NDArray, NDArray]:
    """Return which detections take an object, and whether that one counts for nothing.

    A detection takes the object of the highest IoU, the first of equal ones, if no detection of a
    higher score has it; a difficult object counts for nothing, however often it is taken.
    """
    difficult = objects.ignored[members]
    overlap = np.where(
        there[group], _iou(box, objects.box[members], group, np.zeros_like(difficult)), -1.0
    )
    best = overlap.argmax(axis=1)
    enough = overlap.max(axis=1)[:, None] >= rule.thresholds
    void = enough & difficult[group, best][:, None]
    # The first of those that take the same object; rows are sorted by falling score in a group.
    hit = np.zeros_like(enough)
    wanted = group * members.shape[1] + best
    for lane in range(len(rule.thresholds)):
        rows = np.flatnonzero(enough[:, lane])
        hit[rows[np.unique(wanted[rows], return_index=True)[1]], lane] = True
    return hit | void, void


def _turns(group: NDArray) -> Iterator[NDArray]:
    """Yield the rows of the first member of each group, then of the second, and so on."""
    turn = np.arange(len(group)) - np.searchsorted(group, group)
    order = np.argsort(turn, kind="stable")
    return iter(np.split(order, np.flatnonzero(np.diff(turn[order])) + 1) if len(group) else [])


def _iou(box: NDArray, other: NDArray, group: NDArray, crowd: NDArray) -> NDArray:
    """Return the IoU of each detection with all objects of its group, `(detections, objects)`.

    The order of operations is that of pycocotools, so that the last digit is the same.
    """
    one, other = box[:, None], other[group]
    sides = [
        np.minimum(one[..., side + 2] + one[..., side], other[..., side + 2] + other[..., side])
        - np.maximum(one[..., side], other[..., side])
        for side in (0, 1)
    ]
    common = np.where((sides[0] > 0) & (sides[1] > 0), sides[0] * sides[1], 0.0)
    area = one[..., 2] * one[..., 3]
    union = np.where(crowd[group], area, area + other[..., 2] * other[..., 3] - common)
    return np.divide(common, union, out=np.zeros_like(common), where=common > 0)
