"""What the files of a run say, as rows and lines of text: shared by all pages about runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# Everything else in config.json is the recipe: what was chosen before training.
BESIDE_RECIPE = frozenset(
    (
        "input_shape",
        "parameters",
        "data",
        "started",
        "versions",
        "machine",
        "command",
        "reasons",
    )
)


def read_recipe(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the hyper-parameters that `config.json` holds, with their names as words.

    Args:
        config: The content of `config.json`.

    Returns:
        One text for each name. Parts of nested values have names such as `"augment rotation"`.

    Example:
        >>> read_recipe({"learning_rate": 2e-3, "parameters": 7, "augment": {"flip": True}})
        {'learning rate': '0.002', 'augment flip': 'yes'}
    """
    own = {name: value for name, value in config.items() if name not in BESIDE_RECIPE}
    nested = own.pop("recipe", {})
    # Sizes of batches belong to the data in `config.json`, but are a choice.
    size = config.get("data", {}).get("batch_size")
    batch = {} if size is None or "batch_size" in own else {"batch_size": size}
    return _flatten({**own, **nested, **batch})


def describe_machine(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the machine and the versions that `config.json` records."""
    return _flatten(config.get("machine", {})) | config.get("versions", {})


def describe_data(config: Mapping[str, Any]) -> dict[str, str]:
    """Return what `config.json` records about the data."""
    return _flatten(config.get("data", {}))


def spaced(name: str) -> str:
    """Return a name as words.

    Example:
        >>> spaced("learning_rate")
        'learning rate'
    """
    return name.replace("_", " ")


def format_value(value: Any) -> str:
    """Return a setting as text.

    Example:
        >>> [format_value(value) for value in (0.002, True, None, [1, 2])]
        ['0.002', 'yes', '–', '1, 2']
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple) and not any(isinstance(one, list | dict) for one in value):
        return ", ".join(map(format_value, value)) or "none"
    return value if isinstance(value, str) else json.dumps(value)


def _flatten(values: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Return nested values as one level of texts."""
    found: dict[str, str] = {}
    for name, value in values.items():
        words = f"{before}{spaced(name)}"
        if isinstance(value, Mapping):
            found |= _flatten(value, f"{words} ")
        else:
            found[words] = format_value(value)
    return found
