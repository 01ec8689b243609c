"""The inputs of a model: their kinds, and the normalization of each image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras

from keras_dlcourse import layers
from keras_dlcourse.data import Examples
from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.export.conversion.device_model import is_image_shape
from keras_dlcourse.export.conversion.entrance import check_learned_range, find_entrance
from keras_dlcourse.export.conversion.errors import ExportError
from keras_dlcourse.export.conversion.provenance import find_normalization
from keras_dlcourse.export.conversion.schemes import Scheme
from keras_dlcourse.export.conversion.structure import KerasInput, get_tensor, list_inputs
from keras_dlcourse.export.inputs import KINDS
from keras_dlcourse.export.inputs.kind import ModelInput
from keras_dlcourse.export.writing.input import Input
from keras_dlcourse.graph.flat import Graph, to_functional


def find_inputs(
    model: keras.Model,
    row: Scheme,
    *,
    preprocessing: Normalization | Mapping[str, Normalization] | None = None,
    examples: Examples | None = None,
    rgb: bool | None = None,
) -> tuple[Input, ...]:
    """Return the inputs of a model, in Keras's order.

    Args:
        model: A Keras model.
        row: The quantization scheme of the file.
        preprocessing: The normalization of the images, or of each by the name of the input.
        examples: Examples of the data, which may carry a normalization.
        rgb: Whether the file converts color to gray; by default, for gray images.

    Raises:
        ExportError: If the model has no inputs of fixed size, or cannot be exported with them.
        TypeError: If `preprocessing` is not a normalization.
        ValueError: If the normalization of an image is unknown or does not fit, or `rgb` does not.
    """
    found = list_inputs(model)
    _check_rgb(rgb, found)
    given = _by_input(preprocessing, found)
    inputs = []
    for number, one in enumerate(found):
        normalization, source = _find_normalization(model, number, found, given, examples)
        seen = ModelInput(one.shape, one.dtype, normalization)
        kind = next(kind for kind, known in KINDS.items() if known.recognize(seen))
        gray = is_image_shape(one.shape) and one.shape[-1] == 1
        inputs.append(
            Input(
                name=one.name if len(found) > 1 else "",
                kind=kind,
                shape=one.shape,
                dtype=KINDS[kind].dtype,
                normalization=normalization,
                normalization_source=source,
                rgb=gray and rgb is not False,
            )
        )
        _check_dtype(model, number, replace(inputs[-1], name=one.name), row)
    return tuple(inputs)


def _find_normalization(
    model: keras.Model,
    number: int,
    found: tuple[KerasInput, ...],
    given: Mapping[str, Normalization | None],
    examples: Examples | None,
) -> tuple[Normalization | None, str | None]:
    """Return the normalization of an input, and where it was found."""
    one = found[number]
    if len(found) == 1:
        recorded = layers.describe(model)
    else:
        if not is_image_shape(one.shape) and given.get(one.name) is None:
            return None, None
        # A record counts for the input that leads to it.
        described = find_entrance(model, Normalization.identity(), number).described
        recorded = layers.ImageDescription(described[0]) if described else None
    normalization, source = find_normalization(
        model, given.get(one.name), examples, recorded, one.shape, number
    )
    if normalization is not None and is_image_shape(one.shape):
        check_learned_range(model, normalization, number)
    return normalization, source


def _by_input(preprocessing: Any, found: tuple[KerasInput, ...]) -> dict[str, Normalization | None]:
    """Return the normalization that was given for each input."""
    names = [one.name for one in found]
    if not isinstance(preprocessing, Mapping):
        several = len(found) > 1 and any(is_image_shape(one.shape) for one in found)
        return {
            one.name: preprocessing for one in found if not several or is_image_shape(one.shape)
        }
    if strange := sorted(set(map(str, preprocessing)) - set(names)):
        raise ValueError(
            f"preprocessing must have names of inputs as keys, some of {', '.join(names)}. "
            f"Received: {', '.join(strange)}"
        )
    return dict(preprocessing)


def _check_rgb(rgb: bool | None, found: tuple[KerasInput, ...]) -> None:
    shapes = [one.shape for one in found]
    if rgb and not any(is_image_shape(shape) and shape[-1] == 1 for shape in shapes):
        raise ValueError(
            "rgb=True converts color to gray and needs a model with one channel. "
            f"Received: a model with input shape {', '.join(map(str, shapes))}"
        )


def _check_dtype(model: keras.Model, number: int, given: Input, row: Scheme) -> None:
    """Raise ExportError if a file of this scheme cannot hold token numbers as integers."""
    if given.kind == "tokens" and row.name == "int16x8":
        raise ExportError(
            f"quantization='int16x8' does not support integer inputs. Received: input "
            f"{given.name!r} of model {model.name!r}. Use quantization='int8'"
        )
    if given.dtype != "float32" or row.name not in ("int8", "int16x8"):
        return
    layer = _find_embedding(model, number)
    if layer is not None:
        raise ExportError(
            f"input {given.name!r} of model {model.name!r} must be integers, because layer "
            f"{layer.name!r} (Embedding) reads it. Received: floats, which an integer file "
            "quantizes. Declare it as keras.Input(shape, dtype='int32')"
        )


def _find_embedding(model: keras.Model, number: int) -> keras.layers.Layer | None:
    """Return the `Embedding` that reads an input of a model, None if there is none."""
    if not any(isinstance(layer, keras.layers.Embedding) for layer in model._flatten_layers()):
        return None
    try:
        graph = Graph(to_functional(model))
    except (TypeError, ValueError):  # its graph is hidden in its `call`
        return None
    tensor = get_tensor(graph.model, number)
    readers = (node.operation for node in graph.users(tensor))
    return next((layer for layer in readers if isinstance(layer, keras.layers.Embedding)), None)
