"""Run both models on the same examples and pair their outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from keras_dlcourse.data import Examples
from keras_dlcourse.edge.tflite.metadata import CLASS_MAP, EMBEDDING
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.export.checking.output_kinds import Compared, kind_of_scores
from keras_dlcourse.export.checking.roads import Device
from keras_dlcourse.export.conversion.class_map import compute_class_maps
from keras_dlcourse.export.writing.outputs import name_outputs
from keras_dlcourse.graph.head import is_embedding
from keras_dlcourse.graph.logits import find_logits
from keras_dlcourse.graph.running import Network

MAP_EXAMPLES = 100  # number of examples for maps, which are large


@dataclass(frozen=True)
class Output:
    """An output of both models; the first has no name unless the file gives it one."""

    name: str
    kind: str
    compared: Compared


def compare_outputs(
    model: keras.Model, file: ModelFile, examples: Examples, device: Device
) -> tuple[list[Output], str | None]:
    """Run both models; return their outputs, and a note if the labels do not fit.

    Raises:
        ValueError: If the models have different outputs.
    """
    metadata = file.metadata
    predicted = model.predict(examples.inputs, batch_size=64, verbose=0)
    has_maps = CLASS_MAP in metadata.outputs
    several = bool(metadata.places) or len(file.outputs) > 1 + has_maps
    names = tuple(tensor.name for tensor in file.outputs) if several else ()
    named = _name_predictions(model, predicted)
    _check_outputs(named, names, file)
    ours = [named[name] for name in names] or [predicted]
    if has_maps:
        ours.append(compute_class_maps(model, examples.inputs[:MAP_EXAMPLES]))
    theirs: list[list[np.ndarray]] = [[] for _ in ours]
    for index in range(len(examples)):
        for values, kept, one in zip(device(index), theirs, ours, strict=True):
            if index < len(one):
                kept.append(values)
    compared = [
        _pair_outputs(np.asarray(one, "float32"), np.concatenate(kept), tensor.scales, file)
        for one, kept, tensor in zip(ours, theirs, file.outputs, strict=True)
    ]
    titles = names or ("", CLASS_MAP)[: len(compared)]
    outputs = [Output(title, "numbers", one) for title, one in zip(titles, compared, strict=True)]
    if titles[0] in metadata.places:
        return outputs, None
    if not names and (EMBEDDING in metadata.outputs or is_embedding(model)):
        # The largest value of an embedding is not a class.
        return [replace(outputs[0], kind="embedding"), *outputs[1:]], None
    scores, note = _describe_scores(model, file, examples.labels, outputs[0])
    others = outputs[1:]
    if names and not metadata.places:
        labels = _labels_by_name(model, examples.labels)
        others = [_describe_other(labels.get(one.name), one) for one in others]
    return [scores, *others], note


def _name_predictions(model: keras.Model, predicted: Any) -> dict[str, Any]:
    """Return several outputs of a Keras model by name; empty for one without a name."""
    if isinstance(predicted, dict):
        return predicted
    if isinstance(predicted, list | tuple):
        return dict(zip(name_outputs(model), predicted, strict=True))
    return {}


def _labels_by_name(model: keras.Model, labels: Any) -> dict[str, Any]:
    """Return the labels of several outputs by name, as far as there are any."""
    if isinstance(labels, Mapping):
        return dict(labels)
    if isinstance(labels, list | tuple):
        return dict(zip(name_outputs(model), labels, strict=False))
    return {}


def _describe_other(labels: Any, output: Output) -> Output:
    """Determine the kind of an output after the first, for which the file has no class names."""
    kind, labels, _ = kind_of_scores(output.compared.ours, labels)
    return Output(output.name, kind, replace(output.compared, labels=labels))


def _describe_scores(
    model: keras.Model, file: ModelFile, labels: Any, output: Output
) -> tuple[Output, str | None]:
    """Determine the kind of an output that the file does not describe, and add its labels."""
    if output.name and not isinstance(labels, np.ndarray):
        labels = _labels_by_name(model, labels).get(output.name)
    thresholds = file.metadata.score_thresholds
    kind, labels, note = kind_of_scores(
        output.compared.ours,
        labels,
        thresholds=thresholds,
        class_names=file.metadata.labels,
        activation="linear" if output.name else _activation(model),
    )
    compared = replace(output.compared, labels=labels, thresholds=thresholds)
    return Output(output.name, kind, compared), note


def _pair_outputs(
    ours: np.ndarray, theirs: np.ndarray, scales: tuple[float, ...], file: ModelFile
) -> Compared:
    if ours.shape != theirs.shape:
        raise ValueError(
            f"the Keras model has outputs of shape {ours.shape[1:]}, but {file.what} of shape "
            f"{theirs.shape[1:]}: they are not the same model"
        )
    return Compared(ours, theirs, scales[0] if scales else None)


def _check_outputs(named: Mapping[str, Any], names: tuple[str, ...], file: ModelFile) -> None:
    """Raise ValueError unless the model has exactly the outputs of the file."""
    if set(named) != set(names):
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
