"""The outputs of object detectors: boxes and scores of all anchors, or of the boxes chosen.

Keras's outputs and those of the file are compared by the boxes that are chosen from each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from keras_dlcourse.edge.description.layouts import BoxLayout, DetectionLayout
from keras_dlcourse.edge.tflite import schema
from keras_dlcourse.edge.tflite.metadata import CATEGORY, COUNT, LOCATION, SCORE
from keras_dlcourse.edge.vision.non_max_suppression import box_ious
from keras_dlcourse.export.conversion.errors import ExportError
from keras_dlcourse.export.conversion.structure import list_inputs
from keras_dlcourse.export.outputs.kind import (
    FLOAT,
    HALF,
    INTEGER,
    Compared,
    Figures,
    Kind,
    ModelOutput,
    recognize_nothing,
    show_percent,
)
from keras_dlcourse.export.outputs.numbers import LIMITS as NUMBER_LIMITS
from keras_dlcourse.export.outputs.numbers import compare_numbers
from keras_dlcourse.export.outputs.scores import describe_scores
from keras_dlcourse.export.writing.flatbuffer_writer import Table
from keras_dlcourse.export.writing.output import Output
from keras_dlcourse.export.writing.tables import describe_box, describe_labels, describe_tensor
from keras_dlcourse.layers import OutputDescription

_LIMITS = {
    FLOAT: {"max_error": 1e-3, "min_matched": 0.99, "min_box_iou": 0.99},
    HALF: {"max_mean_relative_error": 0.02, "min_matched": 0.97, "min_box_iou": 0.95},
    INTEGER: {"max_mean_relative_error": 0.1, "min_matched": 0.9, "min_box_iou": 0.85},
}
# Boxes count from this score; in networks with lower ones, from the median of the best of images.
_CONFIDENT = 0.3
_SAME_BOX = 0.5  # intersection over union of boxes that are those of one object


def find_detection(model: keras.Model) -> tuple[str, DetectionLayout] | None:
    """Return the name of the output with the boxes of a detector, and its layout.

    None if the model declares no detection.

    Raises:
        ExportError: If it declares one, but does not have the outputs of a detector.
    """
    declared: dict[str, DetectionLayout] = {
        layer.name: layer.detection
        for layer in model._flatten_layers()
        if isinstance(layer, OutputDescription) and layer.detection is not None
    }
    if not declared:
        return None
    name, layout = next(iter(declared.items()))
    for must, received, advice in _find_faults(model, declared, name):
        raise ExportError(
            f"the detection of model {model.name!r} must be {must}. Received: {received}. {advice}"
        )
    return name, layout


def _find_faults(
    model: keras.Model, declared: dict[str, DetectionLayout], boxes: str
) -> Iterator[tuple[str, Any, str]]:
    """Yield what a detection must be, what the model has instead, and what to do."""
    outputs = getattr(model, "output", None)
    anchors = len(declared[boxes].anchors)
    if len(declared) > 1:
        names = ", ".join(map(repr, declared))
        yield "declared once", f"the layers {names}", "Concatenate the boxes of all scales before"
    if not isinstance(outputs, dict) or len(outputs) != 2 or boxes not in outputs:
        names = ", ".join(map(repr, outputs)) if isinstance(outputs, dict) else "no dictionary"
        yield (
            f"a dictionary of two outputs, boxes under the name of the layer, {boxes!r}, and "
            "scores",
            names,
            "Build it: keras.Model(inputs, {'boxes': boxes, 'scores': scores})",
        )
        return
    (scores,) = (tensor for name, tensor in outputs.items() if name != boxes)
    shape = tuple(scores.shape[1:])
    if len(shape) != 2 or shape[0] != anchors or shape[1] is None:
        yield (
            f"with scores of shape (batch, {anchors}, classes), one for each anchor",
            tuple(scores.shape),
            "Reshape the scores, and concatenate those of all scales",
        )
    inputs = [one.shape for one in list_inputs(model)]
    if len(inputs) != 1 or len(inputs[0]) != 3 or inputs[0][-1] not in (1, 3):
        yield "that of one image", f"inputs of shape {inputs}", "Omit the OutputDescription"


def _is_boxes(output: ModelOutput) -> bool:
    return isinstance(output.layout, DetectionLayout)


def _is_scores(output: ModelOutput) -> bool:
    return output.layout is None and output.in_detector


def _compare_boxes(given: Compared) -> Figures:
    """Match the boxes of Keras and of the file one to one, within each image and class.

    Both outputs are `(n, boxes, 6)`: left, top, right, bottom, class and score, of which the last
    is 0 where there is no box. Every box with a score to count must be among all boxes of the
    other side.
    """
    best = given.ours[:, :, 5].max(axis=1, initial=0)
    least = min(_CONFIDENT, float(np.median(best)))
    per_image = [_match(*sides, least) for sides in zip(given.ours, given.theirs, strict=True)]
    found, counted = (
        np.array([getattr(one, name) for one in per_image], float) for name in ("found", "counted")
    )
    ious, matched, errors = (
        np.concatenate([getattr(one, name) for one in per_image])
        for name in ("ious", "matched", "errors")
    )
    values = {
        "max_error": float(matched.max(initial=0)),
        "mean_error": float(errors.mean()) if len(errors) else 0.0,
        "boxes": float(counted.sum()),
    }
    # Confidences have the unit 1.
    values["max_relative_error"], values["mean_relative_error"] = (
        values[name] for name in ("max_error", "mean_error")
    )
    if len(ious):
        values["box_iou"] = float(ious.mean())
    if not counted.any():
        return Figures(values)
    share = values["matched"] = float(found.sum() / counted.sum())
    influence = (found - share * counted) / counted.sum()
    return Figures(values, {"matched": float(influence.std() * len(influence) ** 0.5)})


class _Matches:
    """The boxes of one image that both sides have.

    Attributes:
        found: How many of the boxes that count have a partner.
        counted: How many count.
        ious: The intersection over union of each pair.
        matched: The difference of the scores of each pair.
        errors: The same, and the whole score of each box that counts and has no partner.
    """

    def __init__(self, least: float, ours: np.ndarray, theirs: np.ndarray) -> None:
        pairs = list(_pair(ours, theirs))
        scores = np.array([(ours[i, 5], theirs[j, 5]) for i, j, _ in pairs]).reshape(-1, 2)
        used = (scores >= least).any(axis=1)
        self.ious = np.array([iou for *_, iou in pairs])[used] if pairs else np.empty(0)
        self.matched = np.abs(scores[:, 0] - scores[:, 1])[used]
        alone = [
            score
            for side, boxes in enumerate((ours, theirs))
            for number, score in enumerate(boxes[:, 5])
            if score >= least and number not in {pair[side] for pair in pairs}
        ]
        self.found = int((scores >= least).sum())
        self.counted = self.found + len(alone)
        self.errors = np.concatenate([self.matched, alone])


def _match(ours: np.ndarray, theirs: np.ndarray, least: float) -> _Matches:
    return _Matches(least, ours[ours[:, 5] > 0], theirs[theirs[:, 5] > 0])


def _pair(ours: np.ndarray, theirs: np.ndarray) -> Iterator[tuple[int, int, float]]:
    """Yield pairs of the same class, those that overlap most first, with their overlap."""
    if not len(ours) or not len(theirs):
        return
    ious = box_ious(ours[:, :4], theirs[:, :4]) * (ours[:, None, 4] == theirs[:, 4])
    while ious.max() >= _SAME_BOX:
        i, j = np.unravel_index(ious.argmax(), ious.shape)
        yield int(i), int(j), float(ious[i, j])
        ious[i], ious[:, j] = 0, 0


def _describe_boxes(output: Output) -> Table:
    index = output.layout.index if isinstance(output.layout, BoxLayout) else (0, 1, 2, 3)
    text = "The boxes, in shares of the image: top, left, bottom, right."
    if isinstance(output.layout, DetectionLayout):
        text = "The box of each anchor, relative to it: y, x, height, width."
    box = describe_box(schema.BoundingBoxType.BOUNDARIES, index)
    return describe_tensor(LOCATION, text, {schema.TensorMetadata.CONTENT: box})


def _describe_scores(output: Output) -> Table:
    return describe_scores(output, SCORE)


def _describe_classes(output: Output) -> Table:
    labels = describe_labels(output, schema.AssociatedFileType.TENSOR_VALUE_LABELS)
    return describe_tensor(CATEGORY, "The class of each box.", labels)


def _describe_count(output: Output) -> Table:
    return describe_tensor(COUNT, "The number of boxes.")


def _rows(figures: Mapping[str, float]) -> list[list[str]]:
    iou, matched = figures.get("box_iou"), show_percent(figures.get("matched"))
    error = f"{figures['max_error']:.3g}, {figures['mean_error']:.3g}"
    return [
        [f"same box and class, of {figures['boxes']:,.0f} boxes", "", matched],
        ["IoU of the same boxes, mean", "", show_percent(iou)],
        ["largest, mean error of their scores", "", error],
    ]


def _error_rows(figures: Mapping[str, float]) -> list[list[str]]:
    return []  # compared by their boxes


DETECTION = Kind(_is_boxes, _compare_boxes, _LIMITS, _describe_boxes, _rows)
DETECTION_SCORES = Kind(_is_scores, compare_numbers, NUMBER_LIMITS, _describe_scores, _error_rows)
# `add_suppression` adds them behind the model.
DETECTION_CLASSES = Kind(
    recognize_nothing, compare_numbers, NUMBER_LIMITS, _describe_classes, _error_rows
)
DETECTION_COUNT = Kind(
    recognize_nothing, compare_numbers, NUMBER_LIMITS, _describe_count, _error_rows
)
