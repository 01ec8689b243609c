"""The inputs of a Keras model: their names and order, and values for them in its own structure."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras

from keras_dlcourse.export.conversion.errors import ExportError

# Keras counts inputs without a name, in a way that differs after loading a model.
_NO_NAME = re.compile(r"(keras_tensor|input_layer)(_\d+)?")


class KerasInput(NamedTuple):
    """An input of a Keras model.

    Attributes:
        name: Its name: the key if the model takes a dictionary; `input_0`, `input_1`, ... if it was
            not given one.
        shape: Its shape, without the batch.
        dtype: Its data type.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str


def list_inputs(model: keras.Model) -> tuple[KerasInput, ...]:
    """Return the inputs of a model, in Keras's order.

    That of a list, or of the keys of a dictionary.

    Raises:
        ExportError: If the model has not been built, a size is dynamic, or it has several inputs
            and no graph.
    """
    if not model.built:
        raise ExportError(
            f"model {model.name!r} has not been built, so its input size is unknown. "
            "Either call it once on data, or give its first layer an input shape"
        )
    tensors = list_tensors(model)
    found = [(name, tuple(one.shape[1:]), one.dtype) for name, one in tensors.items()]
    return tuple(
        KerasInput(name, _check_sizes(model, shape), keras.backend.standardize_dtype(dtype))
        for name, shape, dtype in found or [("image", _find_called_shape(model), "float32")]
    )


def pack_inputs(model: keras.Model, values: Sequence[Any]) -> Any:
    """Return values, in the order of `list_inputs`, in the structure that a model takes."""
    tensors = list_tensors(model)
    if len(values) == 1 and not isinstance(getattr(model, "input", None), dict):
        return values[0]
    by_tensor = dict(zip(map(id, tensors.values()), values, strict=True))
    return keras.tree.map_structure(lambda tensor: by_tensor[id(tensor)], model.input)


def arrange_inputs(model: keras.Model, given: Any, argument: str = "data") -> tuple[Any, ...]:
    """Return the arrays of examples in the order of `list_inputs`.

    Args:
        model: The model.
        given: An array, or a dictionary or list of arrays for a model with several inputs.
        argument: The argument that they come from, used in error messages.

    Raises:
        ValueError: If they do not fit the model's inputs.
    """
    names = [one.name for one in list_inputs(model)]
    if len(names) == 1 and not isinstance(given, Mapping | list | tuple):
        return (given,)
    if isinstance(given, Mapping) and set(given) == set(names):
        return tuple(given[name] for name in names)
    in_order = isinstance(given, list | tuple) and not isinstance(model.input, dict)
    if in_order and len(given) == len(names):
        return tuple(given)
    what = "one array"
    if isinstance(given, Mapping):
        what = f"a dictionary of {', '.join(map(str, given))}"
    elif isinstance(given, list | tuple):
        what = f"a list of {len(given)} arrays"
    raise ValueError(
        f"{argument} must have an array for each input of model {model.name!r}, in a dictionary "
        f"with the keys {', '.join(names)}. Received: {what}"
    )


def list_tensors(model: keras.Model) -> dict[str, Any]:
    """Return the symbolic inputs of a model by name; an empty dictionary without a graph."""
    if not getattr(model, "inputs", None):
        return {}
    # A Sequential model that was built, but not called, has no `input`.
    structure = model.inputs if isinstance(model, keras.Sequential) else model.input
    if isinstance(structure, dict) and not any(map(keras.tree.is_nested, structure.values())):
        return dict(structure)  # in the order of its keys; `model.inputs` is sorted
    tensors = keras.tree.flatten(structure)
    given = {tensor.name for tensor in tensors if not _NO_NAME.fullmatch(tensor.name)}
    free = (name for n in itertools.count() if (name := f"input_{n}") not in given)
    return {one.name if one.name in given else next(free): one for one in tensors}


def get_tensor(model: keras.Model, number: int) -> Any:
    """Return the symbolic input of a model with the given index in `list_inputs`."""
    return list(list_tensors(model).values())[number]


def _find_called_shape(model: keras.Model) -> tuple[int | None, ...]:
    """Return the shape of the only input that a subclassed model was called on."""
    config = model.get_build_config() or {}
    shape = config.get("input_shape") or config.get("shapes_dict", {}).get("input_shape")
    if isinstance(shape, dict):
        shape = list(shape.values())
    if shape and isinstance(shape[0], list | tuple):
        if len(shape) > 1:
            raise ExportError(
                f"model {model.name!r} has {len(shape)} inputs and no graph, so their names and "
                "order are unknown. Wrap it: keras.Model(inputs, model(inputs)), where inputs is "
                "a list or dictionary of keras.Input"
            )
        shape = shape[0]
    if shape is None:
        raise ExportError(
            f"model {model.name!r} does not record its input shape. Wrap it: "
            "keras.Model(x := keras.Input(shape), model(x))"
        )
    return tuple(shape[1:])


def _check_sizes(model: keras.Model, shape: tuple[int | None, ...]) -> tuple[int, ...]:
    sizes = tuple(size for size in shape if size is not None)
    if len(sizes) < len(shape):
        raise ExportError(
            f"the input of model {model.name!r} has the dynamic shape {shape}, but a device needs "
            "fixed sizes. Build the model with an input_shape, or wrap it: "
            "keras.Model(x := keras.Input((height, width, channels)), model(x))"
        )
    return sizes
