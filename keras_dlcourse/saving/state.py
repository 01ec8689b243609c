"""All that decides how a training goes on, as one file of arrays: what `model.save` leaves out too.

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

_TEXT = "text"  # the array with the facts as JSON
_OUTER, _INNER = "arrays/", "facts/"
_ARRAY = "an array of this file"


def capture(model: keras.Model) -> dict[str, np.ndarray]:
    """Copy weights, seeds, optimizer and metrics of a compiled model that has been built.

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
        f"{kind}/{number}": np.array(variable.numpy())
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
    """Write arrays and facts to an `.npz` file.

    Args:
        path: The file.
        arrays: Named arrays.
        facts: Whatever JSON can hold, and arrays in it.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "state.npz"
        >>> write_state(path, {"variables/0": np.ones(2)}, {"epoch": 3, "best": [np.zeros(1)]})
        >>> read_state(path)
        ({'variables/0': array([1., 1.])}, {'epoch': 3, 'best': [array([0.])]})
    """
    inner: dict[str, np.ndarray] = {}
    text = {"facts": _without_arrays(facts, inner)}
    content = {**{f"{_OUTER}{key}": array for key, array in arrays.items()}, **inner}
    # NumPy's files have no bfloat16: such arrays go as whole numbers, and the name of their type.
    strange = {key: array.dtype.name for key, array in content.items() if array.dtype.kind == "V"}
    for key in strange:
        content[key] = content[key].view(f"u{content[key].itemsize}")
    text["dtypes"] = strange
    content[_TEXT] = np.frombuffer(json.dumps(text).encode(), "uint8")
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **content)


def read_state(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what `write_state` wrote.

    Returns:
        The arrays and the facts.

    Raises:
        OSError: If there is no such file.
        ValueError: If it is damaged, or no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            content = {key: file[key] for key in file.files}
        text = json.loads(content.pop(_TEXT).tobytes())
        for key, name in text["dtypes"].items():
            content[key] = content[key].view(np.dtype(name))
        facts = _with_arrays(text["facts"], content)
    except OSError:
        raise
    except Exception as error:  # zipfile, NumPy and JSON each have errors of their own
        raise ValueError(f"{path} is damaged, or no state of a training: {error}") from error
    arrays = {
        key.removeprefix(_OUTER): array for key, array in content.items() if key.startswith(_OUTER)
    }
    return arrays, facts


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
