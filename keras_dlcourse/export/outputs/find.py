"""The outputs of a model in the order of its file: their kinds, labels and thresholds."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from keras_dlcourse.data import Examples
from keras_dlcourse.edge.description.layouts import (
    BOX_LAYOUTS,
    SEGMENTATION,
    BoxLayout,
    KeypointLayout,
    Layout,
    MaskLayout,
)
from keras_dlcourse.edge.tflite.metadata import CLASS_MAP
from keras_dlcourse.export.conversion.errors import ExportError
from keras_dlcourse.export.conversion.provenance import find_labels
from keras_dlcourse.export.conversion.schemes import Scheme
from keras_dlcourse.export.outputs import KINDS
from keras_dlcourse.export.outputs.kind import ModelOutput
from keras_dlcourse.export.outputs.segmentation import find_mask
from keras_dlcourse.export.writing.output import Output
from keras_dlcourse.layers import ImageDescription, OutputDescription

# The order in a file: class scores and other values, as readers of classifiers expect, then these.
_IN_FILES = (type(None), BoxLayout, KeypointLayout, MaskLayout)
_LABELED = ("scores", "numbers", SEGMENTATION)  # kinds of which the first may have labels


def find_outputs(
    model: keras.Model, graph: keras.Model, *, class_map: bool = False, has_labels: bool = False
) -> tuple[Output, ...]:
    """Return the outputs of a model in the order of its file.

    That is Keras's order, unless `OutputDescription` layers declare coordinates: then class scores
    come first, as readers of classifiers expect, then boxes, then keypoints.

    Args:
        model: A Keras model. If its output is a dictionary, `OutputDescription` layers with the
            same names declare which outputs are coordinates.
        graph: The same model in the form in which it is converted.
        class_map: Whether the second output of `graph` is the class map.
        has_labels: Whether class names were given, so that a vector is not an embedding.

    Raises:
        ValueError: If some outputs are declared, and more than one is not.
    """
    names = name_outputs(model)
    layouts = _find_layouts(model, names)
    is_only = len(names) == 1
    plain = [name for name in names if name not in layouts]
    shapes = [tuple(tensor.shape[1:]) for tensor in graph.outputs]
    if not is_only and isinstance(graph.output, dict):
        shapes = [tuple(graph.output[name].shape[1:]) for name in names]
    outputs = []
    for name, shape in zip(names, shapes, strict=False):
        layout = layouts.get(name)
        is_first = [name] == plain[:1]
        found = ModelOutput(model, name, shape, layout, is_only, is_first, has_labels)
        kind = next(kind for kind, row in KINDS.items() if row.recognize(found))
        has_name = not is_only or isinstance(layout, BoxLayout | KeypointLayout)
        outputs.append(Output(name if has_name else "", kind, shape, layout))
    outputs.sort(key=lambda output: _IN_FILES.index(type(output.layout)))
    if class_map:
        outputs.append(Output(CLASS_MAP, "class_map", shapes[-1]))
    return tuple(outputs)


def name_outputs(model: keras.Model) -> tuple[str, ...]:
    """Return the names of a model's outputs, in Keras's order.

    Those of a dictionary are its keys; others are the names of their layers, or `output_0`,
    `output_1`, ... if these are not unique.

    Raises:
        ExportError: If they are nested.
    """
    structure = getattr(model, "output", None)
    parts: Any = structure.values() if isinstance(structure, dict) else structure
    if isinstance(structure, dict | list | tuple) and any(map(keras.tree.is_nested, parts)):
        raise ExportError(
            f"the outputs of model {model.name!r} must be a flat list or dictionary, because a "
            "file has no nested ones. Received: a nested structure. Wrap the model: "
            "keras.Model(model.inputs, {name: output, ...})"
        )
    if isinstance(structure, dict):
        return tuple(structure)
    count = max(1, len(keras.tree.flatten(structure)))
    names = tuple(getattr(model, "output_names", ()))
    is_usable = len(names) == count and len(set(names)) == count
    return names if is_usable else tuple(f"output_{number}" for number in range(count))


def _find_layouts(model: keras.Model, names: Sequence[str]) -> dict[str, Layout]:
    """Return the layout of a mask, or those of the outputs that are declared as coordinates."""
    mask = find_mask(model)
    if mask is not None:
        return {names[0]: MaskLayout(mask.activation)}
    described = {
        layer.name: layer
        for layer in model._flatten_layers()
        if isinstance(layer, OutputDescription)
    }
    if not isinstance(getattr(model, "output", None), dict):
        return {}
    layouts: dict[str, Layout] = {
        name: _layout(described[name]) for name in names if name in described
    }
    plain = [name for name in names if name not in layouts]
    if layouts and len(plain) > 1:
        raise ValueError(
            f"model {model.name!r} must have an OutputDescription layer of the same name for every "
            f"output except the class scores. Received: outputs {', '.join(plain)} without one"
        )
    return layouts


def _layout(described: OutputDescription) -> BoxLayout | KeypointLayout:
    if described.bounding_box_format is not None:
        return BOX_LAYOUTS[described.bounding_box_format]
    return KeypointLayout(str(described.relative_to), described.names)


def assign_labels(
    outputs: tuple[Output, ...],
    labels: Any,
    recorded: ImageDescription | None,
    examples: Examples | None,
) -> tuple[Output, ...]:
    """Return the outputs with their class names.

    Args:
        outputs: The outputs.
        labels: The names that were given: those of the first output, or a dictionary from names of
            outputs to those of each.
        recorded: What the model records; its names are those of the first output.
        examples: The data, likewise.

    Raises:
        TypeError: If the given names have no order.
        ValueError: If their number is not that of the output, or a name is empty or has a line
            break.
    """
    names = [output.name for output in outputs]
    # As in {"animal": ["cat", "dog"]}; {"cat": 0, "dog": 1} are names of classes.
    by_output = isinstance(labels, Mapping) and any(
        isinstance(value, list | tuple) for value in labels.values()
    )
    if by_output and (strange := sorted(set(map(str, labels)) - set(names))):
        raise ValueError(
            "labels must be a list for a model with one output, else a dictionary with names of "
            f"outputs as keys. Received: the keys {', '.join(strange)}, but the model has the "
            f"outputs {', '.join(filter(None, names)) or 'one without a name'}"
        )
    labeled = []
    for number, output in enumerate(outputs):
        given = labels.get(output.name) if by_output else labels if number == 0 else None
        if given is not None and output.kind not in _LABELED:
            raise ValueError(
                f"labels must be given for scores only. Received: labels for an output of kind "
                f"{output.kind!r}. Omit labels"
            )
        if output.kind not in _LABELED or (number and given is None):
            labeled.append(output)
            continue
        width = _count_classes(output, given)
        first = number == 0
        found = find_labels(given, recorded if first else None, examples if first else None, width)
        kind = "scores" if found is not None and output.kind == "numbers" else output.kind
        name = "labels.txt" if first else f"labels_{number}.txt"
        labeled.append(replace(output, labels=found, labels_file=name, kind=kind))
    return tuple(labeled)


def _count_classes(output: Output, given: Any) -> int:
    """Return the number of class names an output has; a mask of one class may name two."""
    classes = output.shape[-1] or 0
    is_single = output.kind == SEGMENTATION and classes == 1
    return 2 if is_single and given is not None and len(given) == 2 else classes


def assign_thresholds(
    outputs: tuple[Output, ...],
    given: Sequence[float] | float | None,
    recorded: ImageDescription | None,
    row: Scheme,
) -> tuple[Output, ...]:
    """Return the outputs with a threshold for each class that its scores can reach.

    Args:
        outputs: The outputs.
        given: The thresholds that were given; if None, those that the model records are used.
        recorded: What the model records; its thresholds are those of the first output.
        row: The quantization scheme.

    Raises:
        ValueError: If thresholds were given but there are no scores of classes, or if they do not
            fit.
    """
    scores, *others = outputs
    if given is None and recorded is not None and scores.kind == "scores":
        given = recorded.score_thresholds
    if given is None:
        return outputs
    if scores.kind != "scores":
        raise ValueError("score_thresholds apply to class scores; this model has none")
    classes = scores.shape[-1] or 0
    expected = (
        f"score_thresholds must be {classes} numbers from 0 to 1, one for each class, or one for "
        f"all. Received: {given!r}"
    )
    try:
        values = np.asarray(given)
    except ValueError:  # rows of different lengths
        raise ValueError(expected) from None
    if values.dtype.kind not in "iuf":
        raise TypeError(expected)
    values = values.astype("float64")
    if values.ndim == 0:
        values = np.full(classes, values)
    if values.shape != (classes,) or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(expected)
    beyond = np.flatnonzero(values > row.highest_score).tolist()
    if beyond:
        warnings.warn(
            f"the thresholds of classes {beyond} are lowered to {row.highest_score:.4f}, the "
            f"highest score in {row.name}, which represents all scores that round to it",
            stacklevel=4,
        )
    thresholds = tuple(np.minimum(values, row.highest_score).tolist())
    return (replace(scores, score_thresholds=thresholds), *others)


def list_output_keys(graph: keras.Model, outputs: Sequence[Output]) -> list[str]:
    """Return the name of each output in the signature of a converted file.

    Args:
        graph: The converted model.
        outputs: Its outputs, in the order wanted.
    """
    if len(outputs) > 1 and isinstance(graph.output, dict):
        return [output.name for output in outputs]
    return [f"output_{number}" for number in range(len(outputs))]
