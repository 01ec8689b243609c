"""Mean average precision of detections, by the rules of COCO and PASCAL VOC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_dlcourse._checks import check_integer, check_number, check_one_of
from keras_dlcourse.boxes.formats import check_boxes, check_format, is_relative
from keras_dlcourse.metrics._detection_matching import Found, Objects, Rule, Verdicts, judge
from keras_dlcourse.metrics._detection_scores import (
    MEASURES,
    PROTOCOLS,
    DetectionScores,
    pack,
    summarize,
)
from keras_dlcourse.metrics._numpy import numbers

# Of COCO, in pixels; the first counts all objects.
_AREAS = np.array([[0, 1e5**2], [0, 32**2], [32**2, 96**2], [96**2, 1e5**2]], float)
_IMAGES = 256  # judged at a time
_NAME = "MeanAveragePrecision"


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class MeanAveragePrecision(keras.metrics.Metric):
    """Mean average precision of detections (mAP), with COCO's other measures.

    A detection is correct if it finds an object of its class that no detection of a higher score
    has found. The average precision (AP) of a class is the mean precision over recalls.

    | `protocol` | rules |
    |---|---|
    | `"coco"` | mean over IoU thresholds 0.5, 0.55, ..., 0.95 and over 101 recalls |
    | `"voc07"` | IoU 0.5, 11 recalls |
    | `"voc10"` | IoU 0.5, area under the curve |

    `scores()` returns COCO's 12 numbers, and the AP of each class. They are those of pycocotools,
    to the last digits. Images are judged as they come, and not kept: a detection takes about 30
    bytes. It computes in NumPy, which no backend compiles: call it on what the model predicts, or,
    on TensorFlow, use `compile(run_eagerly=True)`.

    Args:
        bounding_box_format: Meaning of the four values, one of `kd.data.BOX_FORMATS`. AP does not
            depend on the unit, areas do.
        measure: What `result()` returns: a field of `DetectionScores`, such as `"map_50"`.
        protocol: A protocol of the table.
        image_shape: Height and width of the images in pixels, which boxes in fractions of the image
            (`rel_`) need: objects count as small or large by their pixels.
        iou_thresholds: Least IoU of a correct detection; None for those of the protocol.
        limit: Detections of a class in an image that count, those of the highest scores. COCO's 100
            is too few for scenes of more objects. VOC's rules count all.
        name: Name in logs; by default that of the measure.
        dtype: Dtype of the result.

    Call arguments:
        y_true: A dictionary of `"boxes"` `(images, objects, 4)` and `"labels"`
            `(images, objects)`: class numbers, negative for padding. Optional, of the same shape:
            `"area"` in pixels, for masks smaller than their box; `"iscrowd"` under COCO's rules,
            `"difficult"` under VOC's: finding such an object counts for nothing. Instead of padded
            arrays, lists with an array for each image.
        y_pred: A dictionary of `"boxes"` `(images, detections, 4)`, `"labels"` and `"scores"`
            `(images, detections)`; a negative label is padding.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, `image_shape` is missing, arrays do not fit
            together, or boxes or scores are NaN.

    Example:
        >>> true = {"boxes": np.array([[[10, 10, 50, 50], [60, 10, 90, 40]]]),
        ...         "labels": np.array([[0, 1]])}
        >>> found = {"boxes": np.array([[[10, 10, 50, 52], [0, 0, 9, 9]]]),
        ...          "labels": np.array([[0, 1]]), "scores": np.array([[0.9, 0.8]])}
        >>> metric = MeanAveragePrecision("xyxy")
        >>> metric.update_state(true, found)
        >>> float(metric.result())  # 1 for the first class, 0 for the second
        0.5
        >>> metric.scores().average_precision[0].round(3).tolist()  # at an IoU of 0.5
        [1.0, 0.0]

    Reference:
        Lin et al., "Microsoft COCO: Common Objects in Context", 2014,
        https://arxiv.org/abs/1405.0312, and its evaluation code, pycocotools; Everingham et al.,
        "The PASCAL Visual Object Classes Challenge", IJCV 2010,
        https://doi.org/10.1007/s11263-009-0275-4. VOC counts pixels, its boxes include the last
        one: pass boxes whose right and bottom edges are one more.
    """

    def __init__(
        self,
        bounding_box_format: str,
        measure: str = "map",
        protocol: str = "coco",
        image_shape: tuple[int, int] | None = None,
        iou_thresholds: Sequence[float] | None = None,
        limit: int = 100,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.bounding_box_format = check_format("bounding_box_format", bounding_box_format)
        self.measure = check_one_of("measure", measure, MEASURES)
        self.protocol = check_one_of("protocol", protocol, tuple(PROTOCOLS))
        self.limit = check_integer("limit", limit)
        self.image_shape = _check_size(image_shape, bounding_box_format)
        self.iou_thresholds = None
        coco = self.protocol == "coco"
        thresholds = np.linspace(0.5, 0.95, 10) if coco else np.array([0.5])
        if iou_thresholds is not None:
            self.iou_thresholds = [
                check_number("iou_thresholds", value, above=0, most=1) for value in iou_thresholds
            ]
            thresholds = np.array(self.iou_thresholds)
        self._rule = Rule(
            thresholds, _AREAS if coco else _AREAS[:1], self.limit if coco else None, coco
        )
        super().__init__(name=name or self.measure, dtype=dtype)
        self.reset_state()

    def reset_state(self) -> None:
        """Forget all images."""
        self._judged: list[Verdicts] = []
        self._counts: dict[int, NDArray] = {}

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Judge the detections of a batch of images."""
        if sample_weight is not None:
            raise ValueError(
                "sample_weight must be None: average precision ranks the detections of all images, "
                "and has no weights. Leave images out instead. Received: weights"
            )
        rows = _count_images("y_true", y_true), _count_images("y_pred", y_pred)
        if rows[0] != rows[1]:
            raise ValueError(
                f"y_true and y_pred must have the same images. Received: {rows[0]} and {rows[1]}"
            )
        for begin in range(0, rows[0], _IMAGES):
            part = slice(begin, begin + _IMAGES)
            self._judge(self._objects(y_true, part), self._detections(y_pred, part))

    def result(self) -> Any:
        """Return the measure; 0 if there were no objects."""
        value = getattr(self.scores(), self.measure)
        return keras.ops.convert_to_tensor(0.0 if np.isnan(value) else value, "float32")

    def scores(self) -> DetectionScores:
        """Return all measures, also those of each class."""
        lanes = len(self._rule.areas) * len(self._rule.thresholds)
        nothing = np.zeros((0, (lanes + 7) // 8), np.uint8)
        empty = np.zeros(0)
        judged = self._judged or [Verdicts(empty, empty, empty, nothing, nothing)]
        joined = Verdicts(
            *(
                np.concatenate([getattr(each, part) for each in judged])
                for part in ("label", "score", "rank", "right", "ignored")
            )
        )
        self._judged = [joined] if self._judged else []
        return summarize(joined, self._counts, self._rule.thresholds, self.limit, self.protocol)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this metric."""
        return {
            **super().get_config(),
            "bounding_box_format": self.bounding_box_format,
            "measure": self.measure,
            "protocol": self.protocol,
            "image_shape": self.image_shape,
            "iou_thresholds": self.iou_thresholds,
            "limit": self.limit,
        }

    def _judge(self, objects: Objects, found: Found) -> None:
        areas = self._rule.areas
        inside = (objects.area[:, None] >= areas[:, 0]) & (objects.area[:, None] <= areas[:, 1])
        inside &= ~objects.ignored[:, None]
        for label in np.unique(objects.label).tolist():
            counts = inside[objects.label == label].sum(axis=0)
            self._counts[label] = self._counts.get(label, 0) + counts
        verdicts = judge(objects, found, self._rule)
        self._judged.append(
            Verdicts(
                verdicts.label.astype(np.int32),
                verdicts.score,
                verdicts.rank.astype(np.int32),
                pack(verdicts.right),
                pack(verdicts.ignored),
            )
        )

    def _objects(self, y_true: Mapping[str, Any], part: slice) -> Objects:
        image, label = _labels("y_true", y_true, part)
        boxes = _column("y_true", y_true, "boxes", part, 2)
        there = label >= 0
        image, label, boxes = image[there], label[there], boxes[there]
        check_boxes(boxes, self.bounding_box_format, name='y_true["boxes"]')
        box = self._sides(boxes)
        area, ignored = box[:, 2] * box[:, 3], np.zeros(len(box), bool)
        flag = "iscrowd" if self._rule.coco else "difficult"
        if y_true.get("area") is not None:
            area = _column("y_true", y_true, "area", part, 1)[there]
        if y_true.get(flag) is not None:
            ignored = _column("y_true", y_true, flag, part, 1)[there] != 0
        return Objects(image, label, box, area, ignored)

    def _detections(self, y_pred: Mapping[str, Any], part: slice) -> Found:
        image, label = _labels("y_pred", y_pred, part)
        boxes = _column("y_pred", y_pred, "boxes", part, 2)
        score = _column("y_pred", y_pred, "scores", part, 1)
        there = label >= 0
        image, label, boxes, score = image[there], label[there], boxes[there], score[there]
        for name, values in (("boxes", boxes), ("scores", score)):
            if not np.isfinite(values).all():
                raise ValueError(
                    f'y_pred["{name}"] must be finite. Received: NaN or infinite values. Training '
                    "has diverged, or padding has a label; padding needs a negative one."
                )
        relative = is_relative(self.bounding_box_format)
        if boxes.size and (np.median(np.abs(boxes)) > 2 if relative else 0 < boxes.max() <= 1):
            unit, other = ("fractions", "pixels") if relative else ("pixels", "fractions")
            raise ValueError(
                f'y_pred["boxes"] must be in {unit}, as {self.bounding_box_format} says. Received: '
                f"values up to {boxes.max():.4g}, which look like {other}. Convert them with "
                "kd.data.convert_boxes."
            )
        return Found(image, label, self._sides(boxes), score)

    def _sides(self, boxes: NDArray) -> NDArray:
        """Return left, top, width and height in pixels, in float64 on every backend."""
        letters = self.bounding_box_format[-4:]
        x, y = (boxes[:, letters.index(letter)] for letter in "xy")
        if "w" in letters:
            width, height = (boxes[:, letters.index(letter)] for letter in "wh")
        else:
            width, height = (boxes[:, letters.rindex(letter)] for letter in "xy")
            width, height = width - x, height - y
        if "center" in self.bounding_box_format:
            x, y = x - width / 2, y - height / 2
        sides = np.stack([x, y, np.maximum(width, 0), np.maximum(height, 0)], axis=1)
        if self.image_shape is not None and is_relative(self.bounding_box_format):
            sides *= np.tile(self.image_shape[::-1], 2)
        return sides


def mean_average_precision(
    y_true: Mapping[str, Any],
    y_pred: Mapping[str, Any],
    bounding_box_format: str,
    protocol: str = "coco",
    image_shape: tuple[int, int] | None = None,
    iou_thresholds: Sequence[float] | None = None,
    limit: int = 100,
) -> DetectionScores:
    """Return COCO's 12 numbers and the AP of each class.

    Args:
        y_true: The objects of all images, as for `MeanAveragePrecision`.
        y_pred: The detections in all images, as for `MeanAveragePrecision`.
        bounding_box_format: As for `MeanAveragePrecision`, like all other arguments.
        protocol: `"coco"`, `"voc07"` or `"voc10"`.
        image_shape: Height and width of the images, for boxes in fractions.
        iou_thresholds: Least IoU of a correct detection.
        limit: Detections of a class in an image that count.

    Raises:
        TypeError: As `MeanAveragePrecision`.
        ValueError: As `MeanAveragePrecision`.

    Example:
        >>> true = {"boxes": [np.array([[10, 10, 50, 50]])], "labels": [np.array([0])]}
        >>> found = {**true, "scores": [np.array([0.9])]}
        >>> round(mean_average_precision(true, found, "xyxy").map_50, 4)
        1.0
    """
    metric = MeanAveragePrecision(
        bounding_box_format, "map", protocol, image_shape, iou_thresholds, limit
    )
    metric.update_state(y_true, y_pred)
    return metric.scores()


def _check_size(size: Any, bounding_box_format: str) -> tuple[int, int] | None:
    if size is None:
        if is_relative(bounding_box_format):
            raise ValueError(
                "image_shape must be the height and width of the images for boxes in fractions: "
                "COCO counts objects as small or large by their pixels. Received: None"
            )
        return None
    if not isinstance(size, list | tuple) or len(size) != 2:
        raise ValueError(f"image_shape must be (height, width) in pixels. Received: {size!r}")
    return check_integer("image_shape", size[0]), check_integer("image_shape", size[1])


def _count_images(name: str, values: Any) -> int:
    if not isinstance(values, Mapping):
        raise TypeError(
            f"{name} must be a dictionary of boxes, labels, ... Received: {type(values).__name__}"
        )
    needed = ("boxes", "labels") if name == "y_true" else ("boxes", "labels", "scores")
    for key in needed:
        if key not in values:
            raise ValueError(
                f"{name} must have {', '.join(map(repr, needed))}. Received: {sorted(values)}"
            )
    return len(values["boxes"])


def _labels(name: str, values: Mapping[str, Any], part: slice) -> tuple[NDArray, NDArray]:
    """Return the number of the image, and the class number, of each box."""
    sizes = [len(each) for each in _rows(values["labels"], part)]
    labels = _column(name, values, "labels", part, 1)
    if not np.array_equal(labels, np.floor(labels)):
        raise ValueError(f'{name}["labels"] must be class numbers. Received: fractions, or NaN')
    return np.repeat(np.arange(len(sizes)), sizes), labels.astype(np.int64)


def _column(name: str, values: Mapping[str, Any], key: str, part: slice, rank: int) -> NDArray:
    """Return the values of all boxes, one row each, as float64."""
    rows, boxes = _rows(values[key], part), _rows(values["labels"], part)
    width = 4 if rank == 2 else 1
    flat = []
    for each, like in zip(rows, boxes, strict=True):
        if each.size != width * len(like) or (len(like) and each.shape[1:] != (4,) * (rank - 1)):
            expected = "(boxes, 4)" if rank == 2 else "(boxes,)"
            raise ValueError(
                f'{name}["{key}"] must have the shape {expected} in each image, with as many rows '
                f"as there are labels. Received: {each.shape} for {len(like)} labels"
            )
        flat.append(each.reshape((-1, 4) if rank == 2 else -1))
    return np.concatenate(flat).astype("float64") if flat else np.zeros((0, 4)[:rank])


def _rows(values: Any, part: slice) -> list[NDArray]:
    """Return an array for each image."""
    if isinstance(values, list | tuple):
        return [numbers(each, _NAME) for each in values[part]]
    return list(numbers(values[part], _NAME))
