"""Load what can be exported: a Keras model, a `.keras` file, or a SavedModel folder.

Networks from other Keras versions are imported as a SavedModel, e.g. those prepared with
tensorflow-model-optimization on Keras 2.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import keras
from keras.src.backend.common import global_state

from keras_dlcourse._stderr import capture_stderr
from keras_dlcourse.export.conversion.errors import ExportError
from keras_dlcourse.export.conversion.model_path import check_model_path
from keras_dlcourse.saving import load

_FAKE_QUANTIZATION = "FakeQuantWithMinMax"
# Modes of Keras's model.quantize whose operations the converter does not support (TF 2.21).
_NOT_CONVERTED = ("int8", "float8")
_SIGNATURES = ("serving_default", "serve")


def load_model(model: Any) -> keras.Model:
    """Return a Keras model unchanged, or load one from a path.

    Args:
        model: A Keras model, or the path of a `.keras` file or of a folder with `saved_model.pb`.

    Raises:
        TypeError: If `model` is neither a model nor a path.
        FileNotFoundError: If the path does not exist.
        ValueError: If it is neither a `.keras` file nor a SavedModel folder.
        UntrustedModelError: If a `.keras` file refers to anything other than Keras, this package,
            and objects that the caller has registered with Keras.
        ExportError: If a SavedModel has no signature with one float input and one output.

    Example:
        >>> load_model("model.tflite")
        Traceback (most recent call last):
        ...
        FileNotFoundError: there is no file model.tflite
    """
    if isinstance(model, keras.Model):
        refuse_quantized_by_keras(model)
        return model
    if not isinstance(model, str | os.PathLike):
        raise TypeError(
            "model must be a Keras model, the path of a .keras file, or a SavedModel folder. "
            f"Received: {type(model).__name__}"
        )
    path = check_model_path(model)
    if path.is_dir():
        return _load_saved_model(path)
    # No training follows, and the optimizer in a file from the PyTorch backend is a Keras class
    # that cannot be imported without PyTorch.
    loaded = load(path, trust=_list_registered(), compile=False)
    refuse_quantized_by_keras(loaded)
    return loaded


def refuse_quantized_by_keras(model: keras.Model) -> None:
    """Reject models quantized by Keras's `model.quantize`, whose operations devices do not have.

    Raises:
        ExportError: If there is such a layer; names the first one.
    """
    for layer in model._flatten_layers(include_self=False):
        mode = getattr(layer, "quantization_mode", None)
        if mode in _NOT_CONVERTED:
            raise ExportError(
                f"layer {layer.name!r} of model {model.name!r} was quantized by Keras's "
                f"model.quantize({mode!r}), whose operations have no builtin kernel on devices. "
                "Export the unquantized model with quantization='int8' and the training data as "
                "calibration= (or with quantization='dynamic', which needs none)"
            )


def _list_registered() -> list[Any]:
    """Return the caller's own classes and functions that this process has registered with Keras.

    The caller has imported their code already; a command line has none. `Lambda` may run them.
    """
    in_scope = global_state.get_global_attribute("custom_objects_scope_dict", {})
    own = [*keras.saving.get_custom_objects().values(), *in_scope.values(), keras.layers.Lambda]
    return [
        thing
        for thing in own
        if isinstance(thing, type | FunctionType) and thing.__name__ != "<lambda>"
    ]


class SavedModelLayer(keras.layers.TFSMLayer):
    """A SavedModel's signature as a non-trainable layer.

    Args:
        filepath: The SavedModel folder.
        call_endpoint: Name of the signature.
        output: Name of the output that the layer returns.
        fake_quantized: Whether its graph has fake quantization, and so contains its ranges.
    """

    def __init__(
        self,
        filepath: str,
        *,
        call_endpoint: str,
        output: str,
        fake_quantized: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(filepath, call_endpoint=call_endpoint, trainable=False, **kwargs)
        self.output_name = output
        self.fake_quantized = fake_quantized

    def call(self, inputs: Any, training: bool = False, **kwargs: Any) -> Any:
        """Return the output."""
        return super().call(inputs, training=False)[self.output_name]


def is_fake_quantized(model: keras.Model) -> bool:
    """Whether the model is a SavedModel that was trained with fake quantization."""
    return any(
        isinstance(layer, SavedModelLayer) and layer.fake_quantized
        for layer in model._flatten_layers()
    )


def _load_saved_model(path: Path) -> keras.Model:
    """Return a functional model of the serving signature."""
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        raise ExportError(
            f"{path} is a SavedModel, which needs TensorFlow, but the backend of Keras is "
            f"{keras.backend.backend()}: set KERAS_BACKEND=tensorflow"
        )
    with capture_stderr():
        try:
            loaded = tf.saved_model.load(str(path))
        except Exception as error:  # TensorFlow raises many exceptions on damaged folders
            reason = str(error).strip().splitlines()
            raise ExportError(
                f"{path} cannot be loaded as a SavedModel: {reason[0] if reason else error!r}"
            ) from error
    name = _find_signature(loaded, path)
    given, returned = _find_ends(loaded.signatures[name], path)
    image = keras.Input(given.shape[1:], dtype=given.dtype.name, name="image")
    layer = SavedModelLayer(
        str(path),
        call_endpoint=name,
        output=returned,
        fake_quantized=_has_fake_quantization(path),
        name="saved_model",
    )
    plain = re.sub(r"\W+", "_", path.resolve().name) or "saved_model"
    return keras.Model(image, layer(image), name=plain)


def _find_signature(loaded: Any, path: Path) -> str:
    """Return the name of the serving signature."""
    names = list(loaded.signatures)
    for name in _SIGNATURES:
        if name in names:
            return name
    if len(names) == 1:
        return str(names[0])
    raise ExportError(
        f"{path} has {'the signatures ' + ', '.join(names) if names else 'no signature'}, but one "
        "called serving_default is needed. Save it with model.export(folder)"
    )


def _find_ends(function: Any, path: Path) -> tuple[Any, str]:
    """Return the specification of the only input and the name of the only output."""
    inputs = list(function.structured_input_signature[1].values())
    outputs = function.structured_outputs
    if len(inputs) != 1 or len(outputs) != 1:
        raise ExportError(
            f"{path} has {len(inputs)} inputs and {len(outputs)} outputs; to_tflite takes models "
            "with one of each"
        )
    (given,) = inputs
    if not given.dtype.is_floating or given.shape.rank is None:
        raise ExportError(
            f"{path} takes {given.dtype.name} of shape {given.shape}; to_tflite takes models with "
            "floating-point inputs with a batch"
        )
    return given, next(iter(outputs))


def _has_fake_quantization(path: Path) -> bool:
    """Whether the graph contains fake quantization."""
    return any(node.op.startswith(_FAKE_QUANTIZATION) for node in graph_nodes(path))


def graph_nodes(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Yield the operations of a SavedModel's graph and of the functions that it calls.

    Args:
        path: The SavedModel folder.

    Yields:
        The TensorFlow `NodeDef` of each operation.
    """
    from tensorflow.python.saved_model.loader_impl import parse_saved_model

    graph = parse_saved_model(os.fspath(path)).meta_graphs[0].graph_def
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def
