"""Run TensorFlow's converter with the settings of a scheme, and explain its errors."""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from keras_dlcourse._extras import require
from keras_dlcourse._stderr import capture_stderr
from keras_dlcourse.export.conversion.device_model import force_inference
from keras_dlcourse.export.conversion.errors import ExportError
from keras_dlcourse.export.conversion.schemes import Scheme
from keras_dlcourse.export.conversion.sources import graph_nodes
from keras_dlcourse.export.conversion.structure import list_tensors, pack_inputs
from keras_dlcourse.export.writing.input import Input

LARGEST_GRAPH = 1 << 30  # bytes of constants: a graph with its weights cannot exceed 2 GiB


def convert(
    model: keras.Model,
    row: Scheme,
    inputs: tuple[Input, ...],
    *,
    batch: int | None = 1,
    calibration: list[np.ndarray] | None = None,
    input_dtype: str = "float32",
    output_dtype: str = "float32",
    progress: Any = None,
) -> bytes:
    """Convert a functional model to the bytes of a `.tflite` file.

    Args:
        model: The model as the device calls it, see `device_model`.
        row: The quantization scheme.
        inputs: The inputs of the model. In the signature of the file, the only one is named by its
            kind, and several are `input_0`, `input_1`, ..., which may be in another order.
        batch: Static batch size, or None.
        calibration: For schemes that calibrate, the values of each input for all examples.
        input_dtype: Data type of the input tensors that are floats in Keras.
        output_dtype: Data type of the output tensor.
        progress: Called with the number of each calibration example, from 1.

    Returns:
        The content of the file.

    Raises:
        ExportError: If an operation has no builtin kernel; names the operation and the layer.
    """
    require("keras_dlcourse.export", "tensorflow", "tensorflow")
    if keras.backend.backend() != "tensorflow":
        raise ExportError(
            "the backend of Keras must be TensorFlow for the converter. Received: "
            f"{keras.backend.backend()}. Save the model as .keras and export it in a process with "
            "KERAS_BACKEND=tensorflow"
        )
    _refuse_what_kills_the_converter(model, row)
    import tensorflow as tf

    with tempfile.TemporaryDirectory(prefix="keras_dlcourse-") as folder, capture_stderr() as log:
        try:
            _save(force_inference(model), folder, _describe_signature(model, inputs, batch))
            _refuse_loops(folder, model, row)
            converter = tf.lite.TFLiteConverter.from_saved_model(folder)
            _configure(converter, row, input_dtype, output_dtype)
            if row.calibrated and calibration is None:  # the graph itself contains the ranges
                converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
            if calibration is not None:
                examples = {
                    name: values.astype(one.dtype)
                    for name, values, one in zip(
                        list_input_keys(inputs), calibration, inputs, strict=True
                    )
                }
                converter.representative_dataset = lambda: _feed_one_by_one(examples, progress)
            with _ignore_deprecation():
                return converter.convert()
        except ExportError:
            raise
        except Exception as error:
            explained = explain(f"{error}\n{log()}", model) or _explain_call(error, model, batch)
            if explained is None:
                raise
            raise ExportError(explained) from error


def list_input_keys(inputs: tuple[Input, ...]) -> list[str]:
    """Return the name of each input in the signature of a converted file."""
    return [inputs[0].kind] if len(inputs) == 1 else [f"input_{n}" for n in range(len(inputs))]


def _describe_signature(
    model: keras.Model, inputs: tuple[Input, ...], batch: int | None
) -> list[keras.InputSpec]:
    """Return the shape, data type and name of each input."""
    return [
        keras.InputSpec(shape=(batch, *tensor.shape[1:]), dtype=one.dtype, name=name)
        for tensor, one, name in zip(
            list_tensors(model).values(), inputs, list_input_keys(inputs), strict=True
        )
    ]


def _save(model: keras.Model, folder: str, signature: list[keras.InputSpec]) -> None:
    """Write a model as a SavedModel, because concrete functions would leave variable reads behind.

    The weights become constants, in one trace. `keras.Model.export` traces three times, and the
    converter must then remove each variable: seven times as slow, for the same file.
    """
    import tensorflow as tf

    values = [(variable, keras.ops.convert_to_numpy(variable)) for variable in model.variables]
    if sum(value.nbytes for _, value in values) > LARGEST_GRAPH:
        _export(model, folder, signature)
        return

    def serve(*inputs: Any) -> dict[str, Any]:
        constants = [(variable, tf.constant(value)) for variable, value in values]
        with keras.StatelessScope(state_mapping=constants):
            outputs = model(pack_inputs(model, inputs), training=False)
        if isinstance(outputs, dict):
            return outputs
        return {f"output_{n}": output for n, output in enumerate(keras.tree.flatten(outputs))}

    module = tf.Module()
    specs = [tf.TensorSpec(one.shape, one.dtype, name=one.name) for one in signature]
    module.serve = tf.function(serve, input_signature=specs, autograph=False)
    try:
        tf.saved_model.save(module, folder, signatures=module.serve)
    except AssertionError:  # it holds TensorFlow resources that Keras does not list
        _export(model, folder, signature)


def _export(model: keras.Model, folder: str, signature: list[keras.InputSpec]) -> None:
    """Write a model as a SavedModel with variables of any size and kind."""
    packed = pack_inputs(model, signature)
    model.export(folder, verbose=False, input_signature=[packed])


def _configure(converter: Any, row: Scheme, input_dtype: str, output_dtype: str) -> None:
    """Set the converter's options from the scheme."""
    import tensorflow as tf

    converter.target_spec.supported_ops = [getattr(tf.lite.OpsSet, name) for name in row.op_sets]
    if row.optimized:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if row.float16:
        converter.target_spec.supported_types = [tf.float16]
    if row.dense_per_tensor:
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    converter.inference_input_type = tf.as_dtype(input_dtype)  # token numbers keep their type
    converter.inference_output_type = tf.as_dtype(output_dtype)


def _feed_one_by_one(
    examples: dict[str, np.ndarray], progress: Any
) -> Iterator[list[np.ndarray] | dict[str, np.ndarray]]:
    """Feed single examples to the calibrator, several inputs by their names in the signature."""
    for number in range(1, len(next(iter(examples.values()))) + 1):
        one = {name: values[number - 1 : number] for name, values in examples.items()}
        yield one if len(one) > 1 else [*one.values()]
        if progress is not None:
            progress(number)


@contextmanager
def _ignore_deprecation() -> Iterator[None]:
    """Ignore that the converter looks up names of inputs with an interpreter that is deprecated."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\s*Warning: tf\.lite\.Interpreter is deprecated")
        yield


def _refuse_what_kills_the_converter(model: keras.Model, row: Scheme) -> None:
    """Reject models on which integer conversion crashes the whole process (measured, TF 2.21)."""
    if not row.calibrated:
        return
    for layer in _plain_layers(model):
        loops = [
            part
            for part in layer._flatten_layers()
            if isinstance(part, keras.layers.RNN) and not part.unroll
        ]
        if loops:
            inside = "" if layer in loops else f" (the {type(loops[0]).__name__} in it)"
            raise ExportError(
                f"layer {layer.name!r}{inside} is a recurrent loop, which TensorFlow's converter "
                f"cannot quantize to {row.name}. Build it with unroll=True, or export with "
                "quantization='float32'"
            )


def _plain_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yield the layers as the user built them: nested models are entered, wrappers are not."""
    for layer in getattr(model, "layers", ()):
        if isinstance(layer, keras.Model) and layer.layers:
            yield from _plain_layers(layer)
        else:
            yield layer


def _refuse_loops(folder: str, model: keras.Model, row: Scheme) -> None:
    """Reject loops in the user's own layers, which crash the process as well."""
    if not row.calibrated:
        return
    for node in graph_nodes(folder):
        if node.op in ("While", "StatelessWhile"):
            name = _find_layer(node.name, model)
            where = f"layer {name!r}" if name else f"operation {node.name!r}"
            raise ExportError(
                f"{where} of model {model.name!r} computes in a loop, which TensorFlow's converter "
                f"cannot quantize to {row.name}. Unroll it (a Python for loop over a fixed number "
                "of steps, unroll=True in recurrent layers), or export with quantization='float32'"
            )


def explain(log: str, model: keras.Model) -> str | None:
    """Explain in a sentence why the converter failed; return None if that is unknown.

    Args:
        log: The converter's exception and its output.
        model: The converted model, to name its layers.
    """
    found = re.findall(r"(?:TF Select ops|Custom ops|Flex ops): ([^\n]+)", log)
    if not found:
        return None
    operations = sorted({name.strip() for line in found for name in line.split(",")})
    # MLIR names where an operation came from: fused["Erfinv:", "functional_1/my_layer_1/Erfinv@…"].
    places = re.findall(r'fused\["(\w+):", "([^"@]+)', log)
    sources = {_find_layer(path, model) for name, path in places if name in operations} - {None}
    where = (
        f" in layer {', '.join(repr(name) for name in sorted(map(str, sources)))}"
        if sources
        else ""
    )
    plural = "s" if len(operations) > 1 else ""
    return (
        f"operation{plural} {', '.join(operations)}{where} of model {model.name!r} "
        f"{'have' if plural else 'has'} no builtin kernel on devices. Rewrite the layer with other "
        "operations (convolution, dense, arithmetic, pooling, reshaping), or end the exported "
        "model before it and compute the rest outside"
    )


def _explain_call(error: Exception, model: keras.Model, batch: int | None) -> str | None:
    """Name the layer that Keras could not compute with the file's batch size, if that failed."""
    found = re.search(r"Exception encountered when calling (\w+)\.call\(\)\.\s*(.*)", str(error))
    if found is None:
        return None
    kind, reason = found.groups()
    reason = re.sub(r"\x1b\[\d*m", "", reason)
    place = re.search(r"{{node ([^}]+)}}", reason)
    name = _find_layer(place[1], model) if place else None
    size = "a dynamic batch" if batch is None else f"a batch of {batch}"
    return (
        f"{f'layer {name!r} ({kind})' if name else kind} of model {model.name!r} cannot be "
        f"computed on {size}: {reason.split(' for ')[0].rstrip('.')}. If the layer has a fixed "
        "batch size, write -1 instead of it (ops.reshape(x, (-1, 192))), or pass that batch size "
        "as batch="
    )


def _find_layer(path: str, model: keras.Model) -> str | None:
    """Return the name of the deepest layer of the model on a graph path."""
    names = {layer.name for layer in model._flatten_layers(include_self=False)}
    for part in reversed(path.split("/")):
        for name in (part, re.sub(r"_\d+$", "", part)):  # Keras numbers a second call: dense_1
            if name in names:
                return name
    return None
