"""Find the layers that degrade an integer file, by how much, why, and how to fix them."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_dlcourse._checks import check_integer
from keras_dlcourse._moved import renamed_arguments
from keras_dlcourse._progress import track
from keras_dlcourse.data import Normalization, take
from keras_dlcourse.edge.tflite.graph import Operator
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.export import to_tflite
from keras_dlcourse.export.checking.inspection import own_record, read_inputs
from keras_dlcourse.export.checking.kernels import ALIKE, list_kernels, measure_likeness
from keras_dlcourse.export.checking.roads import convert_inputs
from keras_dlcourse.quantize.diagnosis.causes import Evidence, codes_in_use, find_causes
from keras_dlcourse.quantize.diagnosis.comparison import Comparison, LayerSums, compare_layers
from keras_dlcourse.quantize.diagnosis.layer import LayerDiagnosis
from keras_dlcourse.quantize.diagnosis.matching import layer_name
from keras_dlcourse.quantize.diagnosis.result import Diagnosis

INPUT = "INPUT"
EXACT_DB = 120.0  # above this, the rounding of float32 itself shows


@renamed_arguments(file="path")
def diagnose(
    model: keras.Model | str | os.PathLike[str],
    path: str | os.PathLike[str],
    data: Any,
    limit: int = 32,
) -> Diagnosis:
    """Find which layers of an integer file lose accuracy, why, and how to fix them.

    The float network and the integer file run on the same examples, layer by layer. The error that
    originates in a layer is separated from the error in its inputs, and its effect on the layers
    that read it is measured.

    Args:
        model: The Keras model, or a float32 `.tflite` file of it.
        path: An integer `.tflite` file of the same network.
        data: Same as for `fit`, normalized as in training.
        limit: Maximum number of examples to run.

    Returns:
        A `Diagnosis`: `print` shows it as a table, `.picture(path)` draws it, and `apply_fixes`
        applies the fixes that it names.

    Raises:
        ValueError: If model, file and data do not match, the file was made from other weights, or
            it is not an integer file.
        TypeError: If `model` is neither a Keras model nor a path.

    Example:
        >>> import keras, tempfile, numpy as np, keras_dlcourse as kd
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="a"),
        ...                           keras.layers.GlobalAveragePooling2D(name="mean")])
        >>> images = np.random.default_rng(0).normal(size=(100, 8, 8, 3)).astype("float32")
        >>> path = kd.export.to_tflite(model, tempfile.mkdtemp() + "/model.tflite",
        ...                            quantization="int8", calibration=images,
        ...                            preprocessing=kd.data.Normalization(127.5, 25))
        >>> [layer.name for layer in diagnose(model, path, images).layers]
        ['input', 'a', 'mean']
    """
    if not isinstance(model, keras.Model | str | os.PathLike):
        raise TypeError(
            "model must be a Keras model or the path of a float32 .tflite file. Received: "
            f"{type(model).__name__}"
        )
    check_integer("limit", limit)
    integer_file = ModelFile.read(os.fspath(path))
    float_file = _open_float_file(model, integer_file)
    _check_files(float_file, integer_file)
    _check_weights(float_file, integer_file)
    examples = take(data, limit).inputs
    inputs = _device_inputs(examples, float_file, integer_file)
    steps = track(inputs, len(examples), f"{Path(path).name}: comparing layers")
    comparison = compare_layers(float_file, integer_file, steps)
    known = _layer_names(model) if isinstance(model, keras.Model) else ()
    return _summarize(Path(path), float_file, integer_file, comparison, known)


def _open_float_file(
    model: keras.Model | str | os.PathLike[str], integer_file: ModelFile
) -> ModelFile:
    """Read the float file, or create one with the same input pixels as the integer file."""
    if not isinstance(model, keras.Model):
        return ModelFile.read(os.fspath(model))
    given = read_inputs(integer_file)[0]
    with tempfile.TemporaryDirectory(prefix="keras_dlcourse-") as folder:
        result = to_tflite(
            model,
            Path(folder) / "float32.tflite",
            quantization="float32",
            # Layers are compared on the model's own inputs, so no record means no normalization.
            preprocessing=given.normalization or Normalization.identity(),
            rgb=given.rgb,
        )
        return ModelFile.read(result.path.read_bytes())


def _check_files(float_file: ModelFile, integer_file: ModelFile) -> None:
    """Raise an error for files of the wrong kind, or of different networks."""
    for argument, file in (("model", float_file), ("path", integer_file)):
        if len(file.graphs) != 1 or len(file.inputs) != 1:
            raise ValueError(
                f"{argument} must be a file with one graph and one input. Received: {file.what} "
                f"with {len(file.graphs)} graphs and {len(file.inputs)} inputs"
            )
    floats = {tensor.dtype for tensor in float_file.tensors}
    if _collect_output_types(float_file) & _INTEGERS or "float16" in floats:
        raise ValueError(
            f"model must be a float32 file. Received: {float_file.what}. Write one with "
            "to_tflite(model, path, quantization='float32')."
        )
    if not _collect_output_types(integer_file) & _INTEGERS:
        raise ValueError(
            f"path must be an int8 or int16x8 file. Received: {integer_file.what}, which computes "
            "in float, so there is nothing to diagnose."
        )
    shapes = [file.inputs[0].shape for file in (float_file, integer_file)]
    shapes_out = [file.outputs[0].shape for file in (float_file, integer_file)]
    for what, (first, second) in (("inputs", shapes), ("outputs", shapes_out)):
        if first != second:
            raise ValueError(
                f"model and path are not the same network: the float network has {what} of shape "
                f"{first[1:]}, but {integer_file.what} has {second[1:]}."
            )


def _check_weights(float_file: ModelFile, integer_file: ModelFile) -> None:
    """Raise ValueError if the integer file was certainly made from other weights.

    A file of a copy with corrected biases or rescaled channels is accepted, whatever its hash.
    """
    recorded = [own_record(file).get("keras_hash") for file in (float_file, integer_file)]
    if recorded[0] is not None and recorded[0] == recorded[1]:
        return
    likeness = measure_likeness(list_kernels(float_file), integer_file)
    if likeness is not None and likeness < ALIKE:
        raise ValueError(
            "path must be a file made from the weights of model. Received: "
            f"{integer_file.what}, which was made from other weights: in one of its layers, only "
            f"{likeness:.0%} of the weights have the same sign as in the model. Export the model "
            "again with to_tflite, or pass the model that the file was made from, which is the "
            "quantization-aware one if it was trained as such."
        )


_INTEGERS = {"int8", "uint8", "int16"}


def _collect_output_types(file: ModelFile) -> set[str]:
    """Return the types of all operator outputs."""
    return {file.tensors[index].dtype for op in file.operators for index in op.outputs}


def _device_inputs(
    inputs: np.ndarray, float_file: ModelFile, integer_file: ModelFile
) -> Iterator[np.ndarray]:
    """Yield the input examples of both files, undoing the steps that their graphs perform.

    Raises:
        ValueError: If their shape does not match.
    """
    (inputs,) = convert_inputs(integer_file, (inputs,))
    expected = float_file.inputs[0].shape[1:]
    if inputs.shape[1:] != expected:
        raise ValueError(
            f"data must have examples of shape {expected}. Received: {inputs.shape[1:]}"
        )
    return (inputs[number : number + 1] for number in range(len(inputs)))


def _layer_names(model: keras.Model) -> tuple[str, ...]:
    return tuple(layer.name for layer in model._flatten_layers(include_self=False))


def _summarize(
    path: Path,
    float_file: ModelFile,
    integer_file: ModelFile,
    comparison: Comparison,
    known: tuple[str, ...],
) -> Diagnosis:
    """Summarize the measurements as a diagnosis."""
    layers = [_input_layer(float_file, integer_file, comparison)]
    ratios = {float_file.inputs[0].index: layers[0].sqnr_db}
    for (first, second), sums in zip(comparison.matching.pairs, comparison.layers, strict=True):
        operators = float_file.operators[first], integer_file.operators[second]
        inputs = [ratios[index] for index in operators[0].inputs if index in ratios]
        evidence = _evidence(float_file, integer_file, operators, sums, inputs)
        layer = _layer(evidence, first, layer_name(float_file, operators[0], known))
        layers.append(layer)
        ratios[operators[0].outputs[0]] = layer.sqnr_db
    error = float(((comparison.ours - comparison.exact) ** 2).sum())
    return Diagnosis(
        path=path,
        examples=len(comparison.exact),
        output_sqnr_db=_decibels(_noise(error, float((comparison.exact**2).sum()))),
        agreement=_agreement(comparison),
        layers=tuple(layers),
        unmatched=_list_unmatched(float_file, integer_file, comparison, known),
    )


def _input_layer(
    float_file: ModelFile, integer_file: ModelFile, comparison: Comparison
) -> LayerDiagnosis:
    """Describe the rounding of the input as if it were a layer."""
    files = (float_file, integer_file)
    given = tuple(Operator(INPUT, 1, (), (file.inputs[0].index,), False) for file in files)
    evidence = _evidence(float_file, integer_file, given, comparison.input, [])
    return _layer(evidence, -1, "input")


def _evidence(
    float_file: ModelFile,
    integer_file: ModelFile,
    operators: tuple[Operator, ...],
    sums: LayerSums,
    inputs_db: list[float | None],
) -> Evidence:
    readers = tuple(
        (float_file.operators[number], _noise(error, signal))
        for number, (error, signal) in sums.passed.items()
    )
    own = _noise(float(sums.own.sum()), float(sums.signal.sum()))
    return Evidence(
        float_file=float_file,
        integer_file=integer_file,
        float_operator=operators[0],
        operator=operators[1],
        sums=sums,
        readers=readers,
        alone_db=_bound(_decibels(max([own, *(noise for _, noise in readers)]))),
        inputs_db=min(map(_bound, inputs_db), default=EXACT_DB),
    )


def _layer(evidence: Evidence, position: int, name: str) -> LayerDiagnosis:
    sums, tensor = evidence.sums, evidence.tensor
    numbers = max(sums.count * len(sums.low), 1)
    signal = float(sums.signal.sum())
    step = tensor.scales[0] if tensor.scales else None
    return LayerDiagnosis(
        name=name,
        operator=evidence.operator.name,
        position=position,
        shape=tensor.shape,
        dtype=tensor.dtype,
        sqnr_db=_decibels(_noise(float(sums.error.sum()), signal)),
        own_sqnr_db=_decibels(_noise(evidence.own_error, signal)),
        alone_db=None if evidence.alone_db >= EXACT_DB else evidence.alone_db,
        error_steps=None if step is None else sums.absolute / numbers / step,
        max_error_steps=None if step is None else sums.largest / step,
        range_used=codes_in_use(sums, tensor),
        saturated=None if step is None else sums.outside / numbers,
        causes=find_causes(evidence),
    )


def _noise(error: float, signal: float) -> float:
    """Return the energy of an error as a fraction of the signal's energy."""
    return error / signal if signal else (1.0 if error else 0.0)


def _decibels(noise: float) -> float | None:
    """Return the SQNR in dB; None if there is no noise beyond that of float32."""
    ratio = -10 * math.log10(max(noise, 1e-30))
    return None if ratio > EXACT_DB else ratio


def _bound(ratio: float | None) -> float:
    return EXACT_DB if ratio is None else ratio


def _agreement(comparison: Comparison) -> float:
    tops = (
        outputs.reshape(len(outputs), -1).argmax(1)
        for outputs in (comparison.exact, comparison.ours)
    )
    return float(np.mean(np.equal(*tops)))


def _list_unmatched(
    float_file: ModelFile, integer_file: ModelFile, comparison: Comparison, known: tuple[str, ...]
) -> tuple[str, ...]:
    left = [
        (file, file.operators[number], which)
        for file, numbers, which in (
            (float_file, comparison.matching.only_float, "float file"),
            (integer_file, comparison.matching.only_integer, "integer file"),
        )
        for number in numbers
    ]
    return tuple(f"{layer_name(file, op, known)} ({op.name}, {which})" for file, op, which in left)
