"""Run both models on the same examples and pair their outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from keras_dlcourse.data.examples import unwrap_single
from keras_dlcourse.edge.description.layouts import DETECTION, SEGMENTATION
from keras_dlcourse.edge.description.suppression import NonMaxSuppression
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.edge.vision.detection_reader import Boxes, DetectionReader, choose_boxes
from keras_dlcourse.export.checking.inspection import own_record, read_outputs
from keras_dlcourse.export.checking.roads import Device
from keras_dlcourse.export.conversion.class_map import compute_class_maps
from keras_dlcourse.export.conversion.structure import pack_inputs
from keras_dlcourse.export.outputs.detection import find_detection
from keras_dlcourse.export.outputs.find import name_outputs
from keras_dlcourse.export.outputs.kind import Compared
from keras_dlcourse.export.outputs.segmentation import fit_masks
from keras_dlcourse.export.outputs.undescribed import kind_of_scores
from keras_dlcourse.export.writing.output import Output
from keras_dlcourse.graph.head import is_embedding
from keras_dlcourse.graph.logits import find_logits
from keras_dlcourse.graph.predicting import predict
from keras_dlcourse.graph.running import Network

MAP_EXAMPLES = 100  # number of examples for maps, which are large


Reader = Callable[[list[np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class Pair:
    """An output of both models.

    Attributes:
        output: The output of the file.
        compared: Its values in both.
        read: Returns its values, as they are compared, from all outputs of the file.
    """

    output: Output
    compared: Compared
    read: Reader


def compare_outputs(
    model: keras.Model,
    file: ModelFile,
    inputs: tuple[np.ndarray, ...],
    labels: Any,
    device: Device,
) -> tuple[list[Pair], tuple[str, ...]]:
    """Run both models; return their outputs, and notes on labels that do not fit.

    Args:
        model: The Keras model.
        file: The file.
        inputs: The values of each input of the Keras model, in the order of the file.
        labels: The labels, of the structure of the outputs; None if there are none.
        device: Runs the file on the example of a given index.

    Raises:
        ValueError: If the models have different outputs.
    """
    predicted = predict(model, pack_inputs(model, inputs))
    if file.metadata.is_detector:
        pair = _compare_detections(model, file, predicted, device)
        has_boxes = pair.compared.ours.any() or pair.compared.theirs.any()
        return [pair], () if has_boxes else ("no boxes on either side: nothing was compared",)
    outputs = _find_outputs(model, file)
    if [output.name for output in outputs] == [""]:  # Keras may still return a dictionary or list
        predicted, labels = unwrap_single(predicted), unwrap_single(labels)
    named = _name_predictions(model, predicted)
    _check_outputs(named, outputs, file)
    ours = [
        compute_class_maps(model, inputs[0][:MAP_EXAMPLES])
        if output.kind == "class_map"
        else named.get(output.name, predicted)
        for output in outputs
    ]
    theirs: list[list[np.ndarray]] = [[] for _ in ours]
    for index in range(len(inputs[0])):
        for values, kept, one in zip(device(index), theirs, ours, strict=True):
            if index < len(one):
                kept.append(values)
    pairs: list[Pair] = []
    notes: list[str] = []
    if not named and isinstance(labels, Mapping | list | tuple):
        notes.append("labels of several outputs do not fit a file with one: accuracy not measured")
        labels = None
    for number, (output, one, kept, tensor) in enumerate(
        zip(outputs, ours, theirs, file.outputs, strict=True)
    ):
        compared = _pair_outputs(
            np.asarray(one, "float32"), output.read(np.concatenate(kept)), tensor.scales, file
        )
        true = _find_labels(model, labels, output, is_first=not pairs)
        pair, note = _describe_values(model, output, compared, true, _read_one(output, number))
        pairs.append(pair)
        notes += [] if note is None else [f"{output.name}: {note}" if output.name else note]
    return pairs, tuple(notes)


def _read_one(output: Output, number: int) -> Reader:
    """Return what reads a single output."""
    return lambda outputs: output.read(outputs[number])


def _compare_detections(
    model: keras.Model, file: ModelFile, predicted: Any, device: Device
) -> Pair:
    """Return the boxes that are chosen from the outputs of both models.

    Raises:
        ValueError: If the model is not the same detector.
    """
    reader, nms = DetectionReader(file), own_suppression(file)
    (output,) = (one for one in read_outputs(file) if one.kind == DETECTION)
    found = find_detection(model)
    if found is None:
        raise ValueError(
            f"{file.what} is an object detector, but the Keras model declares no detection: they "
            "are not the same model"
        )
    boxes, layout = found
    (scores,) = (name for name in predicted if name != boxes)
    shape = (len(layout.anchors), reader.classes or predicted[scores].shape[-1])
    anchors = reader.layout.anchors if reader.layout is not None else layout.anchors
    if predicted[scores].shape[1:] != shape or len(anchors) != shape[0]:
        raise ValueError(
            f"the Keras model has scores of shape {predicted[scores].shape[1:]}, but {file.what} "
            f"has {len(anchors)} anchors and {reader.classes} classes: they are not the same model"
        )
    ours = [
        choose_boxes(np.asarray(values), np.asarray(given), layout, nms)
        for values, given in zip(predicted[boxes], predicted[scores], strict=True)
    ]

    def read(outputs: list[np.ndarray]) -> np.ndarray:
        return _as_rows(reader.read(outputs, nms), nms.max_results)[None]

    theirs = np.concatenate([read(device(index)) for index in range(len(ours))])
    rows = np.stack([_as_rows(one, nms.max_results) for one in ours])
    return Pair(replace(output, name=""), Compared(rows, theirs), read)


def _as_rows(boxes: Boxes, most: int) -> np.ndarray:
    """Return boxes as rows of edges, class and score, 0 after the last."""
    rows = np.zeros((most, 6), np.float32)
    rows[: len(boxes.scores)] = np.column_stack([boxes.edges.clip(0, 1), *boxes[1:]])
    return rows


def own_suppression(file: ModelFile) -> NonMaxSuppression:
    """Return how the file, or this package by default, chooses among boxes."""
    recorded = own_record(file).get("nms")
    return NonMaxSuppression(**recorded) if isinstance(recorded, dict) else NonMaxSuppression()


def _find_outputs(model: keras.Model, file: ModelFile) -> tuple[Output, ...]:
    """Return the outputs of a file, as it describes them or as the model shows."""
    outputs = read_outputs(file)
    if len(outputs) == 1 and outputs[0].kind == "scores" and is_embedding(model):
        return (replace(outputs[0], kind="embedding"),)  # its largest value is not a class
    return outputs


def _describe_values(
    model: keras.Model, output: Output, compared: Compared, labels: Any, read: Reader
) -> tuple[Pair, str | None]:
    """Return an output with its labels, and its kind where only the values show it."""
    if output.kind == SEGMENTATION:
        labels, note = fit_masks(labels, compared.ours.shape)
        compared = replace(compared, labels=labels, class_names=output.labels)
        return Pair(output, compared, read), note
    if output.kind not in ("scores", "numbers"):
        return Pair(output, compared, read), None
    kind, labels, note = kind_of_scores(
        compared.ours,
        labels,
        thresholds=output.score_thresholds,
        class_names=output.labels,
        activation="linear" if output.name else _activation(model),
    )
    compared = replace(compared, labels=labels, thresholds=output.score_thresholds)
    return Pair(replace(output, kind=kind), compared, read), note


def _name_predictions(model: keras.Model, predicted: Any) -> dict[str, Any]:
    """Return several outputs of a Keras model by name; empty for one without a name."""
    if isinstance(predicted, dict):
        return predicted
    if isinstance(predicted, list | tuple):
        return dict(zip(name_outputs(model), predicted, strict=True))
    return {}


def _find_labels(model: keras.Model, labels: Any, output: Output, *, is_first: bool) -> Any:
    """Return the labels of an output: by its name, by its place, or those of the only one."""
    if isinstance(labels, Mapping):
        return labels.get(output.name)
    if isinstance(labels, list | tuple):
        return dict(zip(name_outputs(model), labels, strict=False)).get(output.name)
    return labels if is_first else None


def _pair_outputs(
    ours: np.ndarray, theirs: np.ndarray, scales: tuple[float, ...], file: ModelFile
) -> Compared:
    if ours.shape != theirs.shape:
        raise ValueError(
            f"the Keras model has outputs of shape {ours.shape[1:]}, but {file.what} of shape "
            f"{theirs.shape[1:]}: they are not the same model"
        )
    return Compared(ours, theirs, scales[0] if scales else None)


def _check_outputs(named: Mapping[str, Any], outputs: tuple[Output, ...], file: ModelFile) -> None:
    """Raise ValueError unless the model has exactly the outputs of the file."""
    names = {output.name for output in outputs if output.kind != "class_map"} - {""}
    if set(named) != names:
        raise ValueError(
            f"the Keras model has the outputs {sorted(named) or 'one without a name'}, but "
            f"{file.what} has {sorted(names) or 'one without a name'}: they are not the same model"
        )


def _activation(model: keras.Model) -> str:
    """Return the last activation of a model with one output, "linear" if it is not accessible."""
    try:
        return find_logits(Network(model)).activation
    except (TypeError, ValueError):
        return "linear"
