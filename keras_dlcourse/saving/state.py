"""All that decides how a training goes on, as one file: also what `model.save` leaves out.

`model.save` keeps weights and optimizer. Two trainings with the same of both still part at the next
batch, because dropout and augmentation draw from seeds that Keras keeps in variables but does not
save, and at the end of the epoch, whose loss and metrics are means over all of its batches.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

_INNER = "facts/"
_ARRAY = "an array of this file"


def capture(model: keras.Model, copy: bool = True) -> dict[str, np.ndarray]:
    """Copy weights, seeds, optimizer and metrics of a compiled model that has been built.

    Args:
        model: The model.
        copy: False may give the model's own memory, for use before it trains on.

    Returns:
        Arrays by the kind of variable and its number, such as `"optimizer/3"`.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dropout(0.5)])
        >>> sorted(capture(model))
        ['variables/0']
    """
    # During an epoch the JAX backend keeps the weights outside of the model.
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()
    return {
        f"{kind}/{number}": np.array(variable.numpy(), copy=copy or None)
        for kind, variables in _variables(model).items()
        for number, variable in enumerate(variables)
    }


def restore(model: keras.Model, arrays: Mapping[str, np.ndarray], *kinds: str) -> None:
    """Put what `capture` copied back into a model of the same kind.

    Args:
        model: The model, compiled and built.
        arrays: What `capture` returned.
        *kinds: What to put back: `"variables"`, `"optimizer"`, `"metrics"`; all if none is named.

    Raises:
        ValueError: If it is of another model or optimizer; nothing is changed then.
    """
    pairs = []
    for kind, variables in _variables(model).items():
        if kinds and kind not in kinds:
            continue
        count = sum(key.startswith(f"{kind}/") for key in arrays)
        if count != len(variables):
            raise ValueError(
                f"The state is of another model or optimizer: it has {count} {_WORDS[kind]}, this "
                f"one has {len(variables)}. Build and compile it as the one that was saved."
            )
        for number, variable in enumerate(variables):
            array = arrays[f"{kind}/{number}"]
            if array.shape != tuple(variable.shape):
                raise ValueError(
                    f"The state is of another model or optimizer: {variable.path} is of "
                    f"{tuple(variable.shape)}, in the state of {array.shape}."
                )
            pairs.append((variable, array))
    for variable, array in pairs:
        variable.assign(array)


_WORDS = {
    "variables": "weights and seeds",
    "optimizer": "variables of an optimizer",
    "metrics": "variables of metrics",
}


def _variables(model: keras.Model) -> dict[str, list[Any]]:
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and not optimizer.built:
        optimizer.build(model.trainable_variables)
    return {
        "variables": list(model.variables),
        "optimizer": [] if optimizer is None else list(optimizer.variables),
        "metrics": list(model.metrics_variables),
    }


def write_state(path: Path, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
    """Write arrays and facts to a file: arrays in NumPy's format, one after the other.

    The first one is JSON, as bytes: the facts, and the names of the arrays that follow. An `.npz`
    archive would take three times as long, for a checksum that the manifest holds anyway.

    Args:
        path: The file.
        arrays: Named arrays.
        facts: Whatever JSON can hold, and arrays in it.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "training.state"
        >>> write_state(path, {"variables/0": np.ones(2)}, {"epoch": 3, "best": [np.zeros(1)]})
        >>> read_state(path)
        ({'variables/0': array([1., 1.])}, {'epoch': 3, 'best': [array([0.])]})
    """
    inner: dict[str, np.ndarray] = {}
    plain = _without_arrays(facts, inner)
    written = [*arrays.values(), *inner.values()]
    # NumPy's format has no bfloat16: such arrays go as bytes, with the name of their type.
    dtypes = [array.dtype.name for array in written]
    text = {"facts": plain, "names": [*arrays, *inner], "inner": len(inner), "dtypes": dtypes}
    with path.open("wb") as file:
        np.save(file, np.frombuffer(json.dumps(text).encode(), "uint8"))
        for array in written:
            strange = array.dtype.kind == "V"
            np.save(file, array.view("uint8") if strange else array, allow_pickle=False)


def read_state(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what `write_state` wrote.

    Returns:
        The arrays and the facts.

    Raises:
        OSError: If there is no such file.
        ValueError: If it is no such file, or not whole.
    """
    try:
        with path.open("rb") as file:
            text = json.loads(np.load(file, allow_pickle=False).tobytes())
            read = {
                name: np.load(file, allow_pickle=False).view(np.dtype(dtype))
                for name, dtype in zip(text["names"], text["dtypes"], strict=True)
            }
    except (ValueError, KeyError, TypeError, EOFError) as error:
        raise ValueError(f"{path} is damaged, or no state of a training: {error}") from error
    outer = len(read) - text["inner"]
    return dict(list(read.items())[:outer]), _with_arrays(text["facts"], read)


def _without_arrays(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Replace arrays by their keys in `arrays`, and what NumPy counts in by Python's numbers."""
    if isinstance(value, Mapping):
        return {key: _without_arrays(item, arrays) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_arrays(item, arrays) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        key = f"{_INNER}{len(arrays)}"
        arrays[key] = value
        return {_ARRAY: key}
    return value


def _with_arrays(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, dict):
        if set(value) == {_ARRAY}:
            return arrays[value[_ARRAY]]
        return {key: _with_arrays(item, arrays) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_arrays(item, arrays) for item in value]
    return value
