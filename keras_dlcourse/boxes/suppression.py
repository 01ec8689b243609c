"""Choice among predicted boxes that overlap, for whole batches and on every backend.

The best box is taken and the others lose score, `max_results` times: shapes do not depend on
values, and memory grows with the number of boxes, not its square.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

from keras_dlcourse import backend
from keras_dlcourse._checks import check_flag, check_integer, check_number
from keras_dlcourse.boxes.overlap import pairwise_iou

_GONE = -1.0  # below every score


def non_max_suppression(
    boxes: Any,
    scores: Any,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.05,
    max_results: int = 100,
    class_agnostic: bool = False,
    several_labels: bool = False,
    candidates: int | None = None,
) -> dict[str, Any]:
    """Choose the boxes with the highest scores that overlap no better one (NMS).

    A box is dropped if its IoU with a chosen box is above `iou_threshold`. Of equal scores, the
    first comes first. A box without area overlaps none.

    Args:
        boxes: Predicted boxes `(batch, boxes, 4)` as left, top, right, bottom.
        scores: Their scores `(batch, boxes, classes)`, from 0 to 1.
        iou_threshold: Highest IoU of two results, from 0 to 1.
        score_threshold: Least score of a result, from 0 to 1.
        max_results: Number of results; if fewer remain, the rest is padding.
        class_agnostic: Whether boxes of different classes drop each other as well, as in
            MediaPipe's ObjectDetector.
        several_labels: Whether a box can be a result of each of its classes. By default it has the
            class of its highest score, the first of equal ones; with several, COCO's measures are
            higher.
        candidates: Only the boxes of the highest scores are compared, that many per image. This
            saves time among tens of thousands, and loses objects in crowded images.

    Returns:
        `"boxes"` `(batch, max_results, 4)`, `"labels"` `(batch, max_results)` int32, and
        `"scores"` `(batch, max_results)`, best first; padding has the label -1, and zeros. They
        are what `kd.metrics.MeanAveragePrecision` takes.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, the shapes do not fit together, or scores are
            not from 0 to 1 (only where their values are available, so not in compiled code).

    Example:
        >>> import numpy as np
        >>> boxes = np.array([[[0, 0, 4, 4], [0, 0, 4, 3], [6, 6, 8, 8]]], "float32")
        >>> scores = np.array([[[0.6], [0.9], [0.8]]], "float32")
        >>> results = non_max_suppression(boxes, scores, max_results=3)
        >>> results["labels"].numpy().tolist()
        [[0, 0, -1]]
        >>> results["boxes"][0, :2].numpy().tolist()
        [[0.0, 0.0, 4.0, 3.0], [6.0, 6.0, 8.0, 8.0]]
    """
    limit = check_number("iou_threshold", iou_threshold, least=0, most=1)

    def keep(iou: Any) -> Any:
        return ops.cast(iou <= limit, iou.dtype)

    return _choose(
        boxes,
        scores,
        keep,
        score_threshold,
        max_results,
        class_agnostic,
        several_labels,
        candidates,
    )


def soft_non_max_suppression(
    boxes: Any,
    scores: Any,
    sigma: float = 0.5,
    score_threshold: float = 0.05,
    max_results: int = 100,
    class_agnostic: bool = False,
    several_labels: bool = False,
    candidates: int | None = None,
) -> dict[str, Any]:
    """Choose boxes as `non_max_suppression`, but lower scores instead of dropping boxes.

        score <- score * exp(-IoU² / sigma)   of all others, for each box chosen

    This keeps objects that stand close together, at the price of more duplicates.

    Args:
        boxes: As for `non_max_suppression`.
        scores: As for `non_max_suppression`.
        sigma: How much overlap is tolerated, above 0.
        score_threshold: Least score of a result, once lowered.
        max_results: As for `non_max_suppression`.
        class_agnostic: As for `non_max_suppression`.
        several_labels: As for `non_max_suppression`.
        candidates: As for `non_max_suppression`.

    Returns:
        As `non_max_suppression`, with the lowered scores.

    Raises:
        TypeError: As `non_max_suppression`.
        ValueError: As `non_max_suppression`.

    Example:
        >>> import numpy as np
        >>> boxes = np.array([[[0, 0, 4, 4], [0, 0, 4, 3], [6, 6, 8, 8]]], "float32")
        >>> scores = np.array([[[0.6], [0.9], [0.8]]], "float32")
        >>> results = soft_non_max_suppression(boxes, scores, max_results=3)
        >>> round(float(results["scores"][0, 2]), 4)  # 0.6 * exp(-0.75² / 0.5)
        0.1948

    Reference:
        Bodla et al., "Soft-NMS: Improving Object Detection With One Line of Code", ICCV 2017,
        https://arxiv.org/abs/1704.04503, equation 3. The `soft_nms_sigma` of TensorFlow is half of
        this `sigma`.
    """
    sigma = check_number("sigma", sigma, above=0)

    def keep(iou: Any) -> Any:
        return ops.exp(-ops.square(iou) / sigma)

    return _choose(
        boxes,
        scores,
        keep,
        score_threshold,
        max_results,
        class_agnostic,
        several_labels,
        candidates,
    )


def _choose(
    boxes: Any,
    scores: Any,
    keep: Callable[[Any], Any],
    score_threshold: float,
    max_results: int,
    class_agnostic: bool,
    several_labels: bool,
    candidates: int | None,
) -> dict[str, Any]:
    """Choose boxes; `keep` is what a box keeps of its score at an IoU with a chosen one."""
    least = check_number("score_threshold", score_threshold, least=0, most=1)
    count = check_integer("max_results", max_results)
    check_flag("class_agnostic", class_agnostic)
    if candidates is not None:
        candidates = check_integer("candidates", candidates)
    entries, labels, left = _entries(boxes, scores, check_flag("several_labels", several_labels))
    if candidates is not None and candidates < left.shape[1]:
        left, places = ops.top_k(left, candidates)
        entries = ops.take_along_axis(entries, ops.expand_dims(places, -1), axis=1)
        labels = ops.take_along_axis(labels, places, axis=1)
    numbers = ops.expand_dims(ops.arange(left.shape[1], dtype="int32"), 0)
    ranks = ops.reshape(ops.arange(count, dtype="int32"), (1, count, 1))

    def choose_one(rank: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
        left, results = state
        best = ops.expand_dims(ops.cast(ops.argmax(left, axis=1), "int32"), 1)
        score = ops.take_along_axis(left, best, axis=1)
        label = ops.take_along_axis(labels, best, axis=1)
        box = ops.take_along_axis(entries, ops.expand_dims(best, -1), axis=1)[:, 0]
        result = ops.concatenate([box, ops.cast(label, "float32"), score], axis=1)
        results = ops.where(ranks == rank, ops.expand_dims(result, 1), results)
        kept = keep(pairwise_iou(ops.expand_dims(box, 1), entries)[:, 0])
        if not class_agnostic:
            kept = ops.where(labels == label, kept, 1.0)
        lowered = left * kept
        gone = ops.logical_or(best == numbers, lowered < least)
        gone = ops.logical_or(gone, kept <= 0)  # a score of 0 may be the least one
        return ops.where(gone, _GONE, lowered), results

    left = ops.where(left >= least, left, _GONE)
    nothing = ops.zeros_like(left[:, :1, None]) + ops.zeros((count, 6))
    _, results = ops.fori_loop(0, count, choose_one, (left, nothing))
    chosen, label, score = results[..., :4], results[..., 4], results[..., 5]
    there = score >= least
    return {
        "boxes": ops.where(ops.expand_dims(there, -1), chosen, 0.0),
        "labels": ops.where(there, ops.cast(label, "int32"), -1),
        "scores": ops.where(there, score, 0.0),
    }


def _entries(boxes: Any, scores: Any, several_labels: bool) -> tuple[Any, Any, Any]:
    """Return boxes, labels and scores of all that can be chosen, `(batch, entries, ...)`."""
    boxes, scores = (ops.cast(ops.convert_to_tensor(each), "float32") for each in (boxes, scores))
    shapes = tuple(boxes.shape), tuple(scores.shape)
    if (
        not len(shapes[0]) == len(shapes[1]) == 3
        or shapes[0][2] != 4
        or shapes[0][1] != shapes[1][1]
    ):
        raise ValueError(
            "boxes must be (batch, boxes, 4) and scores (batch, boxes, classes). Received: "
            f"{shapes[0]} and {shapes[1]}. Add axes of 1 for one image or one class."
        )
    if backend.is_known(scores):
        values = ops.convert_to_numpy(scores)
        if not ((values >= 0) & (values <= 1)).all():  # NaN is neither
            raise ValueError(
                "scores must be from 0 to 1. Received: "
                f"{values.min(initial=0):.4g} to {values.max(initial=0):.4g}. Apply a sigmoid to "
                "logits; NaN means that training has diverged."
            )
    classes = shapes[1][2]
    if not several_labels:
        return boxes, ops.cast(ops.argmax(scores, axis=-1), "int32"), ops.max(scores, axis=-1)
    labels = ops.zeros_like(scores, "int32") + ops.arange(classes, dtype="int32")
    entries = ops.repeat(boxes, classes, axis=1)
    return entries, *(ops.reshape(each, (-1, shapes[1][1] * classes)) for each in (labels, scores))
