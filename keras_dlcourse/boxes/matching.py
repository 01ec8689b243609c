"""Which anchors are responsible for which true boxes.

All functions return `(batch, anchors)` int32: the index of the box that an anchor is matched to,
`BACKGROUND` (-1), or `IGNORED` (-2), which losses leave out. Boxes are `(batch, boxes, 4)` as left,
top, right, bottom; `mask` `(batch, boxes)` says which ones exist, the others are padding and may
have any values. No shape depends on values, so that all of them compile.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from keras_dlcourse._checks import check_flag, check_integer, check_number
from keras_dlcourse.boxes.anchors import Anchors
from keras_dlcourse.boxes.overlap import pairwise_iou

BACKGROUND = -1
IGNORED = -2
_FAR = 1e8  # more than any cost
_ROUNDING = 1e-6  # where all candidates overlap alike, none is below the mean


def match_by_iou(
    boxes: Any,
    mask: Any,
    anchors: Any,
    positive: float = 0.5,
    negative: float = 0.4,
    force: bool = True,
) -> Any:
    """Match each anchor with the box that it overlaps most, if it does enough.

    Args:
        boxes: True boxes `(batch, boxes, 4)`.
        mask: Which boxes exist, `(batch, boxes)`.
        anchors: `Anchors`, for boxes in fractions; or left, top, right, bottom `(anchors, 4)`.
        positive: Least IoU of a match.
        negative: IoU below which an anchor is background; it is ignored in between.
        force: Whether each box also gets the anchor that overlaps it most, the first of equal
            ones, even if by less; of two boxes with the same best anchor, the one that it overlaps
            more gets it.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If `negative` is above `positive`, or one is not from 0 to 1.

    Example:
        >>> anchors = np.array([[0, 0, 4, 4], [4, 0, 8, 4], [9, 9, 10, 10]], "float32")
        >>> boxes = np.array([[[0, 0, 4, 3], [5, 1, 6, 2]]], "float32")
        >>> match_by_iou(boxes, [[True, True]], anchors).numpy().tolist()
        [[0, 1, -1]]

    Reference:
        Liu et al. (SSD), ECCV 2016, https://arxiv.org/abs/1512.02325, section 2.2: `positive` and
        `negative` 0.5; Lin et al. (RetinaNet), ICCV 2017: 0.5 and 0.4
    """
    positive = check_number("positive", positive, above=0, most=1)
    negative = check_number("negative", negative, least=0, most=1)
    check_flag("force", force)
    if negative > positive:
        raise ValueError(
            f"negative must be at most positive, {positive:.4g}. Received: {negative:.4g}"
        )
    boxes, mask = _known(boxes, mask)
    iou = _masked(pairwise_iou(boxes, _corners(anchors)), mask, -1.0)  # (batch, boxes, anchors)
    best = ops.max(iou, axis=1)
    matched = ops.cast(ops.argmax(iou, axis=1), "int32")
    matched = ops.where(best >= positive, matched, ops.where(best < negative, BACKGROUND, IGNORED))
    if not force:
        return matched
    own = ops.expand_dims(ops.argmax(iou, axis=2), -1) == ops.arange(iou.shape[2])
    own = ops.logical_and(own, iou > 0)
    return _closest(ops.where(own, -iou, _FAR), matched)


def match_by_cell(boxes: Any, mask: Any, anchors: Anchors) -> Any:
    """Match each box with the cell that its center is in, as YOLO does.

    A cell is responsible for one object only. Of several in it, it gets the one whose center is
    closest to its own; the others are lost: `unmatched_share` tells how many. All other cells are
    background.

    Args:
        boxes: True boxes `(batch, boxes, 4)` in fractions of the image.
        mask: Which boxes exist, `(batch, boxes)`.
        anchors: `Anchors` of one level with one anchor per cell: `make_anchors(image_shape,
            [stride])`.

    Raises:
        TypeError: If `anchors` are not `Anchors`.
        ValueError: If they have several levels, or several anchors per cell.

    Example:
        >>> from keras_dlcourse.boxes import make_anchors
        >>> cells = make_anchors((64, 64), strides=[32])
        >>> match_by_cell([[[0.6, 0.1, 0.8, 0.3]]], [[True]], cells).numpy().tolist()
        [[-1, 0, -1, -1]]

    Reference:
        Redmon et al., "You Only Look Once", CVPR 2016, https://arxiv.org/abs/1506.02640, section 2
    """
    _check_anchors(anchors)
    if anchors.per_cell != (1,):
        raise ValueError(
            "anchors must be of one level, with one per cell. Received: "
            f"{anchors.per_cell} per cell. Use make_anchors(image_shape, [stride])."
        )
    boxes, mask = _known(boxes, mask)
    middle = ops.expand_dims((boxes[..., :2] + boxes[..., 2:]) / 2, 2)
    # In cells; the nearest by the larger of both distances is the one around the center.
    apart = ops.max(ops.abs(middle - anchors.boxes[:, :2]) / anchors.boxes[:, 2:], axis=-1)
    own = ops.logical_and(_lowest(apart, 1, 1), ops.expand_dims(mask, -1))
    return _closest(ops.where(own, apart, _FAR))


def match_by_statistics(boxes: Any, mask: Any, anchors: Anchors, candidates: int = 9) -> Any:
    """Match by adaptive training sample selection (ATSS): each box has its own IoU threshold.

    Candidates of a box are the anchors of each level whose centers are closest to its center. Those
    with an IoU of at least the mean plus the standard deviation over all candidates, and whose
    center is in the box, are matched; of two boxes, an anchor takes the one that it overlaps more.
    All others are background. There is nothing to tune. Boxes smaller than a cell can be without
    any center, and so without an anchor: check with `unmatched_share`.

    Args:
        boxes: True boxes `(batch, boxes, 4)` in fractions of the image.
        mask: Which boxes exist, `(batch, boxes)`.
        anchors: `Anchors`.
        candidates: Candidates in each cell of each level, as in the paper's code: times
            `per_cell`.

    Raises:
        TypeError: If `candidates` is not an integer, or `anchors` are not `Anchors`.
        ValueError: If `candidates` is below 1.

    Reference:
        Zhang et al., "Bridging the Gap Between Anchor-based and Anchor-free Detection via Adaptive
        Training Sample Selection", CVPR 2020, https://arxiv.org/abs/1912.02424, algorithm 1
    """
    candidates = check_integer("candidates", candidates)
    _check_anchors(anchors)
    boxes, mask = _known(boxes, mask)
    corners, centers = _corners(anchors), anchors.boxes[:, :2]
    iou = pairwise_iou(boxes, corners)
    # In pixels: fractions of height and width are not of the same length.
    distance = _squared_distance(boxes, centers, np.array(anchors.image_shape[::-1], "float32"))
    chosen, ends = [], np.cumsum(np.bincount(anchors.levels)).tolist()
    for begin, end, per_cell in zip([0, *ends], ends, anchors.per_cell, strict=False):
        limit = min(candidates * per_cell, end - begin)
        chosen.append(_lowest(distance[..., begin:end], limit, limit))
    chosen = ops.concatenate(chosen, axis=-1)
    count = ops.sum(ops.cast(chosen, "float32"), axis=-1, keepdims=True)
    mean = ops.sum(ops.where(chosen, iou, 0.0), axis=-1, keepdims=True) / count
    spread = ops.sum(ops.where(chosen, ops.square(iou - mean), 0.0), axis=-1, keepdims=True)
    # Of a sample, as in the authors' code.
    least = mean + ops.sqrt(spread / ops.maximum(count - 1, 1.0))
    fits = ops.logical_and(chosen, iou >= least - _ROUNDING)
    fits = ops.logical_and(fits, _within(boxes, centers))
    fits = ops.logical_and(fits, ops.expand_dims(mask, -1))
    return _closest(ops.where(fits, -iou, _FAR))


def match_by_cost(
    boxes: Any,
    labels: Any,
    mask: Any,
    anchors: Any,
    predicted: Any,
    logits: Any,
    overlap_weight: float = 3.0,
    candidates: int = 10,
) -> Any:
    """Match by what the network predicts now, as SimOTA does: each box takes its cheapest anchors.

        cost = crossentropy of the box's class + overlap_weight * -log(IoU)

    Only anchors whose center is in a box are taken, or if there are none, the one whose center is
    closest. A box takes as many as the sum of its `candidates` highest IoU, rounded down, and at
    least one; an anchor that several boxes take goes to the one of the lowest cost. All others are
    background.

    Args:
        boxes: True boxes `(batch, boxes, 4)`.
        labels: Their class numbers `(batch, boxes)`.
        mask: Which boxes exist, `(batch, boxes)`.
        anchors: `Anchors`, for boxes in fractions; or left, top, right, bottom `(anchors, 4)`.
        predicted: Predicted boxes `(batch, anchors, 4)`; no gradient flows into the matching.
        logits: Predicted class scores before the sigmoid, `(batch, anchors, classes)`.
        overlap_weight: Weight of the overlap in the cost.
        candidates: IoU that are summed, and most anchors of a box.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.

    Reference:
        Ge et al., "YOLOX: Exceeding YOLO Series in 2021", https://arxiv.org/abs/2107.08430,
        section 2.1, without its preference for the middle of the box
    """
    overlap_weight = check_number("overlap_weight", overlap_weight, least=0)
    boxes, mask = _known(boxes, mask)
    labels = ops.cast(labels, "int32")
    if not labels.shape[1]:
        labels = _add_padding(labels)
    corners = _corners(anchors)
    candidates = min(check_integer("candidates", candidates), corners.shape[0])
    logits = ops.cast(ops.stop_gradient(logits), "float32")
    predicted = ops.cast(ops.stop_gradient(predicted), "float32")
    iou = pairwise_iou(boxes, predicted)
    classes = ops.one_hot(ops.where(mask, labels, -1), logits.shape[-1])
    # Of one class against all others, sum over classes: softplus(z), minus z for the right class.
    error = ops.expand_dims(ops.sum(ops.softplus(logits), axis=-1), 1)
    error = error - ops.matmul(ops.cast(classes, "float32"), ops.swapaxes(logits, 1, 2))
    cost = error - overlap_weight * ops.log(iou + 1e-8)
    centers = (corners[:, :2] + corners[:, 2:]) / 2
    inside = _within(boxes, centers)
    nearest = _lowest(_squared_distance(boxes, centers), 1, 1)
    inside = ops.where(ops.any(inside, axis=-1, keepdims=True), inside, nearest)
    inside = ops.logical_and(inside, ops.expand_dims(mask, -1))
    # As in YOLOX's code, only what can be taken is summed.
    highest = ops.top_k(ops.where(inside, iou, 0.0), candidates)[0]
    wanted = ops.maximum(ops.cast(ops.sum(highest, axis=-1), "int32"), 1)
    taken = _lowest(ops.where(inside, cost, _FAR), candidates, ops.expand_dims(wanted, -1))
    return _closest(ops.where(ops.logical_and(taken, inside), cost, _FAR))


def take_matched(matched: Any, boxes: Any, labels: Any) -> tuple[Any, Any]:
    """Return the box and the label that each anchor has to predict.

    Args:
        matched: `(batch, anchors)`, from one of the functions above.
        boxes: True boxes `(batch, boxes, 4)`.
        labels: Their class numbers `(batch, boxes)`.

    Returns:
        Boxes `(batch, anchors, 4)`, those of unmatched anchors 0; and labels `(batch, anchors)`
        int32, `BACKGROUND` or `IGNORED` where nothing is matched. `one_hot` makes zeros of both;
        weights of 0 leave the ignored ones out of a loss.

    Example:
        >>> boxes, labels = take_matched([[0, -1]], [[[1.0, 2, 3, 4]]], [[7]])
        >>> boxes.numpy().tolist(), labels.numpy().tolist()
        ([[[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]]], [[7, -1]])
    """
    matched, boxes = ops.convert_to_tensor(matched), ops.convert_to_tensor(boxes)
    labels = ops.cast(labels, "int32")
    if not boxes.shape[1]:
        boxes, labels = _add_padding(boxes), _add_padding(labels)
    there, index = matched >= 0, ops.maximum(matched, 0)
    taken = ops.take_along_axis(boxes, ops.expand_dims(index, -1), axis=1)
    taken = ops.where(ops.expand_dims(there, -1), taken, ops.zeros_like(taken))
    return taken, ops.where(there, ops.take_along_axis(labels, index, axis=1), matched)


def unmatched_share(matched: Any, mask: Any) -> float:
    """Return the share of the boxes that no anchor is matched to, from which nothing is learned.

    Args:
        matched: `(batch, anchors)`, from one of the functions above.
        mask: Which boxes exist, `(batch, boxes)`.

    Returns:
        From 0 to 1; 0 if there are no boxes.

    Example:
        >>> unmatched_share(np.array([[0, -1, -1]]), np.array([[True, True, False]]))
        0.5
    """
    matched, mask = (np.asarray(ops.convert_to_numpy(each)) for each in (matched, mask))
    mask = mask.astype(bool)
    found = (matched[:, :, None] == np.arange(mask.shape[1])).any(axis=1)
    return float((mask & ~found).sum() / max(mask.sum(), 1))


def _known(boxes: Any, mask: Any) -> tuple[Any, Any]:
    """Return boxes in float32, padding as empty boxes, and the mask."""
    boxes, mask = ops.cast(ops.convert_to_tensor(boxes), "float32"), ops.cast(mask, "bool")
    if len(boxes.shape) != 3 or boxes.shape[-1] != 4 or len(mask.shape) != 2:
        raise ValueError(
            "boxes must be (batch, boxes, 4) and mask (batch, boxes). Received: "
            f"{tuple(boxes.shape)} and {tuple(mask.shape)}"
        )
    if not boxes.shape[1]:  # none, or a number that is not known while compiling
        boxes, mask = _add_padding(boxes), _add_padding(mask)
    return ops.where(ops.expand_dims(mask, -1), boxes, 0.0), mask


def _add_padding(values: Any) -> Any:
    """Add a box to each image, since there is no lowest cost of none."""
    return ops.pad(values, [[0, 0], [0, 1], *[[0, 0]] * (len(values.shape) - 2)])


def _check_anchors(anchors: Any) -> None:
    if not isinstance(anchors, Anchors):
        raise TypeError(
            f"anchors must be Anchors, from make_anchors. Received: {type(anchors).__name__}"
        )


def _corners(anchors: Any) -> Any:
    corners = anchors.corners if isinstance(anchors, Anchors) else anchors
    return ops.cast(ops.convert_to_tensor(corners), "float32")


def _masked(values: Any, mask: Any, fill: float) -> Any:
    return ops.where(ops.expand_dims(mask, -1), values, fill)


def _within(boxes: Any, centers: Any) -> Any:
    """Return which centers are in which boxes, `(batch, boxes, anchors)`."""
    left, top, right, bottom = (ops.expand_dims(side, -1) for side in ops.unstack(boxes, 4, -1))
    x, y = centers[:, 0], centers[:, 1]
    across = ops.logical_and(x > left, x < right)
    return ops.logical_and(across, ops.logical_and(y > top, y < bottom))


def _squared_distance(boxes: Any, centers: Any, sides: Any = 1.0) -> Any:
    """Return the squared distance of centers from those of boxes, `(batch, boxes, anchors)`."""
    middle = ops.expand_dims((boxes[..., :2] + boxes[..., 2:]) / 2, 2)
    return ops.sum(ops.square((middle - centers) * sides), axis=-1)


def _lowest(values: Any, limit: int, wanted: Any) -> Any:
    """Return which values are among the `wanted` lowest, at most `limit`, of the last axis.

    Of equal values, those come first that have the lower index, on every backend.
    """
    ordered = -ops.top_k(-values, limit)[0]
    wanted = ops.broadcast_to(wanted, (*ops.shape(values)[:-1], 1))
    last = ops.take_along_axis(ordered, wanted - 1, axis=-1)
    below, equal = values < last, ops.cast(values == last, "int32")
    room = wanted - ops.sum(ops.cast(below, "int32"), axis=-1, keepdims=True)
    tied = ops.logical_and(equal > 0, ops.cumsum(equal, axis=-1) <= room)
    return ops.logical_or(below, tied)


def _closest(cost: Any, otherwise: Any = BACKGROUND) -> Any:
    """Return for each anchor the box of the lowest cost `(batch, boxes, anchors)`, if any."""
    there = ops.min(cost, axis=1) < _FAR
    return ops.where(there, ops.cast(ops.argmin(cost, axis=1), "int32"), otherwise)
