"""Masks: the confidence of each class at each position of an image.

The file has the values before the last softmax or sigmoid, as the files of MediaPipe's
ImageSegmenter do, and says which one follows. Keras's outputs are compared with the confidences.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from keras_dlcourse.edge.description import layouts
from keras_dlcourse.edge.description.layouts import SIGMOID, SOFTMAX, MaskLayout
from keras_dlcourse.edge.results import BACKGROUND, NO_CATEGORY
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
    error_rows,
    show_percent,
)
from keras_dlcourse.export.outputs.scores import compare_answers
from keras_dlcourse.export.writing.flatbuffer_writer import Table
from keras_dlcourse.export.writing.output import Output
from keras_dlcourse.export.writing.tables import describe_labels, describe_tensor
from keras_dlcourse.graph.logits import LastActivation, find_last_activation
from keras_dlcourse.graph.running import Network
from keras_dlcourse.layers import OutputDescription

_LIMITS = {
    FLOAT: {"max_error": 1e-3, "min_mask_iou": 0.99},
    HALF: {
        "max_mean_relative_error": 0.02,
        "min_class_agreement": 0.97,
        "min_mask_iou": 0.95,
        "max_iou_loss": 0.01,
    },
    INTEGER: {
        "max_mean_relative_error": 0.1,
        "min_class_agreement": 0.95,
        "min_mask_iou": 0.85,
        "max_iou_loss": 0.02,
    },
}
_SURE = 1e-7  # by which confidences are kept from 0 and 1, where logits are infinite


def find_mask(model: keras.Model) -> LastActivation | None:
    """Return where the confidences of a mask are made, None if the output is not a mask.

    That is the only output of a model of one image, if an `OutputDescription` layer declares it,
    or if it ends in a softmax over the last of height, width and classes.

    Raises:
        ExportError: If a declared mask, or one that ends in an argmax, is not one that a device can
            read.
    """
    declared = any(
        isinstance(layer, OutputDescription) and layer.kind == layouts.SEGMENTATION
        for layer in model._flatten_layers()
    )
    try:
        network = Network(model)
    except (TypeError, ValueError):
        network = None
    end = None if network is None or len(model.outputs) > 1 else find_last_activation(network)
    faults = [*_find_faults(model, end)]
    if (declared or (end is not None and end.is_argmax)) and faults:
        raise ExportError(
            f"the segmentation of model {model.name!r} must be {faults[0][0]}. Received: "
            f"{faults[0][1]}. {faults[0][2]}"
        )
    is_plain = end is not None and end.activation == SOFTMAX
    return end if not faults and (declared or is_plain) else None


def _find_faults(model: keras.Model, end: LastActivation | None) -> Iterator[tuple[str, Any, str]]:
    """Yield what a mask must be, what the model has instead, and what to do."""
    outputs = getattr(model, "outputs", None) or []
    if len(outputs) > 1:
        yield "the only output", f"{len(outputs)} outputs", "Export keras.Model(inputs, masks)"
        return
    if end is None:
        yield "the end of a functional model", type(model).__name__, _REBUILD
        return
    shape = tuple(outputs[0].shape[1:])
    inputs = [one.shape for one in list_inputs(model)]
    if len(inputs) != 1 or len(inputs[0]) != 3 or inputs[0][-1] not in (1, 3):
        yield "that of one image", f"inputs of shape {inputs}", "Omit the OutputDescription"
    if len(shape) != 3:
        yield "of shape (height, width, classes)", f"{shape}, {end.found}", _VALUES
        return
    activation, classes = end.activation, shape[-1]
    if activation not in (SOFTMAX, SIGMOID):
        yield "behind a softmax or sigmoid", end.found, _ACTIVATE
    if activation == SOFTMAX and classes == 1:
        yield "behind a sigmoid, for one class", "a softmax, which is always 1", _ACTIVATE
    if activation == SIGMOID and classes != 1:
        yield (
            "behind a softmax, for several classes",
            f"a sigmoid for {classes}",
            "For labels that overlap, omit the OutputDescription: its values are then scores",
        )


_VALUES = "End the model in the confidences of each class, without an argmax: the device takes it"
_ACTIVATE = (
    "End it in keras.layers.Softmax(), or keras.layers.Activation('sigmoid') for one class, in "
    "front of the OutputDescription"
)
_REBUILD = "Rebuild it: keras.Model(inputs, outputs)"


def _recognize(output: ModelOutput) -> bool:
    return isinstance(output.layout, MaskLayout)


def fit_masks(labels: Any, shape: tuple[int, ...]) -> tuple[np.ndarray | None, str | None]:
    """Return true masks as class numbers, -1 where there is no label, or why they do not fit.

    Args:
        labels: Class numbers `(n, height, width)`, also with a last axis of 1, in which 255 and
            negative numbers are not labeled; or one-hot like the outputs.
        shape: The shape of the outputs, `(n, height, width, classes)`.
    """
    if labels is None:
        return None, None
    given = np.asarray(labels)
    if given.shape == shape and shape[-1] > 1:
        return given.argmax(-1), None
    if given.shape not in (shape[:-1], (*shape[:-1], 1)):
        return None, (
            f"masks of shape {given.shape} do not fit outputs of shape {shape}: IoU not measured"
        )
    given = given.reshape(shape[:-1])
    is_known = (given != NO_CATEGORY) & (given >= 0)
    known = given[is_known]
    classes = max(2, shape[-1])
    if not (known == known.astype(int)).all():
        return None, "masks must be class numbers, not fractions: IoU not measured"
    if (known >= classes).any():
        return None, f"masks up to {known.max():g} are not of {classes} classes: IoU not measured"
    masks = np.full(given.shape, -1)
    masks[is_known] = known
    return masks, None


def _compare_masks(given: Compared) -> Figures:
    """Compare the class at each position, and the masks of each class."""
    ours, theirs = (_categories(values) for values in (given.ours, given.theirs))
    # The steps are those of logits.
    margins = _margins(given.ours) - (given.step or 0)
    found = compare_answers(replace(given, step=None), ours, theirs, margins, given.labels)
    overlaps = {"mask_iou": _Overlap.of(ours, theirs, given)}
    if given.labels is not None and (given.labels >= 0).any():
        overlaps["keras_iou"] = _Overlap.of(ours, given.labels, given)
        overlaps["iou"] = _Overlap.of(theirs, given.labels, given)
    for figure, overlap in overlaps.items():
        found.values[figure] = float(overlap.ious.mean())
        for name, value in zip(overlap.names, overlap.ious.tolist(), strict=True):
            found.by_class.setdefault(name, {})[figure] = value
    found.chance["mask_iou"] = _error(overlaps["mask_iou"].influence)
    if "iou" in overlaps:
        found.values["iou_loss"] = found.values["keras_iou"] - found.values["iou"]
        one, other = overlaps["keras_iou"], overlaps["iou"]
        found.chance["iou_loss"] = _error(one.influence - other.influence)
    return found


@dataclass(frozen=True)
class _Overlap:
    """The intersection over union of two sets of masks, of each class that occurs in either.

    Attributes:
        names: The classes.
        ious: Their IoUs, over all examples.
        influence: By how much each example raises the mean of them, to first order.
    """

    names: list[str]
    ious: np.ndarray
    influence: np.ndarray

    @classmethod
    def of(cls, one: np.ndarray, other: np.ndarray, given: Compared) -> _Overlap:
        """Compare class numbers `(n, ...)`, where those of `other` are not negative."""
        classes = max(2, given.ours.shape[-1])
        names = given.class_names or tuple(f"class {k}" for k in range(classes))
        names = names if len(names) == classes else (BACKGROUND, *names)
        one, other = (numbers.reshape(len(numbers), -1) for numbers in (one, other))
        known = other >= 0
        masks = [((one == k) & known, other == k) for k in range(classes)]
        both, any_ = (
            np.stack([np.count_nonzero(join(*pair), axis=1) for pair in masks], axis=1)
            for join in (np.logical_and, np.logical_or)
        )
        found = np.asarray(any_.any(axis=0))
        both, any_ = both[:, found], any_[:, found]
        ious = both.sum(0) / any_.sum(0)
        influence = ((both - ious * any_) / any_.sum(0)).mean(axis=1)
        return cls([name for name, k in zip(names, found, strict=True) if k], ious, influence)


def _error(influence: np.ndarray) -> float:
    """Return the standard error of a figure that is a sum over a random choice of examples."""
    return float(influence.std() * len(influence) ** 0.5)


def _categories(confidences: np.ndarray) -> np.ndarray:
    if confidences.shape[-1] == 1:
        return (confidences[..., 0] > 0.5).astype(int)
    return confidences.argmax(-1)


def _margins(confidences: np.ndarray) -> np.ndarray:
    """Return by how much the logits of the best class are above those of the next one."""
    sure = confidences.clip(_SURE, 1 - _SURE)
    if confidences.shape[-1] == 1:
        return np.abs(np.log(sure[..., 0] / (1 - sure[..., 0])))
    best = np.partition(sure, -2, axis=-1)
    return np.asarray(np.log(best[..., -1] / best[..., -2]))


def _describe(output: Output) -> Table:
    activation = getattr(output.layout, "activation", "")
    return describe_tensor(
        "segmentation_masks",
        f"One value for each class at each position, before the {activation}.",
        describe_labels(output),
    )


def _rows(figures: Mapping[str, float]) -> list[list[str]]:
    accuracy, iou = (
        [show_percent(figures.get(f"{whose}{name}")) for whose in ("keras_", "")]
        for name in ("accuracy", "iou")
    )
    return [
        ["accuracy", *accuracy],
        ["mean IoU", *iou],
        ["same class", "", show_percent(figures["agreement"])],
        ["IoU of both masks, mean over classes", "", show_percent(figures["mask_iou"])],
        *error_rows(figures),
    ]


def _class_rows(by_class: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    rows = []
    for name, figures in by_class.items():
        both = show_percent(figures.get("mask_iou"))
        own = [show_percent(figures.get(figure)) for figure in ("keras_iou", "iou")]
        rows.append([f"{name}: IoU (of both {both})", *own])
    return rows


SEGMENTATION = Kind(_recognize, _compare_masks, _LIMITS, _describe, _rows, _class_rows)
