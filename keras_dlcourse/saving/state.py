"""The complete training state in one file, including what `model.save` omits.

`model.save` saves weights and optimizer. A training resumed from them still differs from the next
batch on, because Keras does not save the seed variables that dropout and augmentation draw from,
and at the end of the epoch, because its loss and metrics are means over all of its batches.
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
    """Copy weights, seeds, optimizer and metrics of a compiled and built model.

    Args:
        model: The model.
        copy: If False, the arrays may share memory with the model and must be used before it is
            trained further.

    Returns:
        Arrays by type of variable and index, such as `"optimizer/3"`.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dropout(0.5)])
        >>> sorted(capture(model))
        ['variables/0']
    """
    # During an epoch, the JAX backend keeps the weights outside of the model.
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()
    return {
        f"{kind}/{number}": np.array(variable.numpy(), copy=copy or None)
        for kind, variables in _variables(model).items()
        for number, variable in enumerate(variables)
    }


def restore(model: keras.Model, arrays: Mapping[str, np.ndarray], *kinds: str) -> None:
    """Restore the state returned by `capture` in a model with the same architecture.

    Args:
        model: The model, compiled and built.
        arrays: The result of `capture`.
        *kinds: What to restore: `"variables"`, `"optimizer"`, `"metrics"`; by default, all.

    Raises:
        ValueError: If the state is from another model or optimizer. Nothing is changed then.
    """
    pairs = []
    for kind, variables in _variables(model).items():
        if kinds and kind not in kinds:
            continue
        count = sum(key.startswith(f"{kind}/") for key in arrays)
        if count != len(variables):
            raise ValueError(
                f"The state is from another model or optimizer: it has {count} {_WORDS[kind]}, but "
                f"this one has {len(variables)}. Build and compile the model as when it was saved."
            )
        for number, variable in enumerate(variables):
            array = arrays[f"{kind}/{number}"]
            if array.shape != tuple(variable.shape):
                raise ValueError(
                    f"The state is from another model or optimizer: {variable.path} has shape "
                    f"{tuple(variable.shape)}, but {array.shape} in the state."
                )
            pairs.append((variable, array))
    for variable, array in pairs:
        variable.assign(array)


_WORDS = {
    "variables": "weights and seeds",
    "optimizer": "optimizer variables",
    "metrics": "metrics variables",
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
    """Write arrays and facts to a file as a sequence of arrays in NumPy's format.

    The first array contains JSON as bytes: the facts, and the names of the arrays that follow. An
    `.npz` archive would take three times as long, for a checksum that the manifest contains anyway.

    Args:
        path: The file.
        arrays: Named arrays.
        facts: Any values that JSON supports, and arrays.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "training.state"
        >>> write_state(path, {"variables/0": np.ones(2)}, {"epoch": 3, "best": [np.zeros(1)]})
        >>> read_state(path)
        ({'variables/0': array([1., 1.])}, {'epoch': 3, 'best': [array([0.])]})
    """
    inner: dict[str, np.ndarray] = {}
    plain = _extract_arrays(facts, inner)
    written = [*arrays.values(), *inner.values()]
    # NumPy's format lacks bfloat16, so such arrays are written as bytes with the dtype's name.
    dtypes = [array.dtype.name for array in written]
    text = {"facts": plain, "names": [*arrays, *inner], "inner": len(inner), "dtypes": dtypes}
    with path.open("wb") as file:
        np.save(file, np.frombuffer(json.dumps(text).encode(), "uint8"))
        for array in written:
            strange = array.dtype.kind == "V"
            np.save(file, array.view("uint8") if strange else array, allow_pickle=False)


def read_state(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read a file written by `write_state`.

    Returns:
        The arrays and the facts.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is damaged or not such a file.
    """
    try:
        with path.open("rb") as file:
            text = json.loads(np.load(file, allow_pickle=False).tobytes())
            read = {
                name: np.load(file, allow_pickle=False).view(np.dtype(dtype))
                for name, dtype in zip(text["names"], text["dtypes"], strict=True)
            }
    except (ValueError, KeyError, TypeError, EOFError) as error:
        raise ValueError(f"{path} is damaged, or not a training state: {error}") from error
    outer = len(read) - text["inner"]
    return dict(list(read.items())[:outer]), _insert_arrays(text["facts"], read)


def _extract_arrays(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Replace arrays with their keys in `arrays`, and NumPy scalars with Python numbers."""
    if isinstance(value, Mapping):
        return {key: _extract_arrays(item, arrays) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_extract_arrays(item, arrays) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        key = f"{_INNER}{len(arrays)}"
        arrays[key] = value
        return {_ARRAY: key}
    return value


def _insert_arrays(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, dict):
        if set(value) == {_ARRAY}:
            return arrays[value[_ARRAY]]
        return {key: _insert_arrays(item, arrays) for key, item in value.items()}
    if isinstance(value, list):
        return [_insert_arrays(item, arrays) for item in value]
    return value
