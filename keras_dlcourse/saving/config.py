"""Check the config of a `.keras` file: look up all objects in it before any is created."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from keras_dlcourse.saving.allowed import Allowed, Name, drop_submodule
from keras_dlcourse.saving.errors import InvalidModelFile, Refused, escape_text

MAX_DEPTH = 100
"""Maximum nesting of lists and objects: a model within a model takes eight levels."""

MAX_OBJECTS = 50_000
"""Maximum number of objects in a config, including tensors: Keras's EfficientNetB7 has 3,750."""

_NO_PART = "it is not part of Keras or keras_dlcourse"
_CODE = "it contains compiled Python code"
_NO_ARRAY = "its data type is unknown to Keras"
_OTHER = "something else is registered under its name in this process"
_SHARED = "it shares an object id with an object of another class"
_NEVER = (_CODE, _NO_ARRAY, _OTHER, _SHARED)  # trust= does not allow these

# Keras's encodings of values that JSON lacks, without the unsafe `__lambda__` and `__typespec__`.
_VALUES = ("__keras_tensor__", "__bytes__", "__ellipsis__", "__slice__")
_ARRAYS = ("__tensor__", "__numpy__")


def parse(content: bytes) -> dict[str, Any]:
    """Return the parsed `config.json`, like Keras reads it.

    Raises:
        InvalidModelFile: If it is not valid, or larger than any model needs.
    """
    try:
        config = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidModelFile(f"config.json is not valid JSON: {escape_text(error)}") from error
    if not isinstance(config, dict):
        raise InvalidModelFile("config.json does not describe a model")
    objects = sum(isinstance(value, dict) and "class_name" in value for _, value in walk(config))
    if objects > MAX_OBJECTS:
        raise InvalidModelFile(f"config.json contains {objects} objects, more than {MAX_OBJECTS}")
    return config


def walk(config: Any) -> Iterator[tuple[str, Any]]:
    """Yield all values in a config with their locations, in the order of the file.

    Raises:
        InvalidModelFile: If it is nested deeper than `MAX_DEPTH`.
    """
    yield "config.json", config
    levels = [_iterate_items("config.json: ", config)]
    while levels:
        place = next(levels[-1], None)
        if place is None:
            levels.pop()
            continue
        yield place
        if isinstance(place[1], dict | list):
            if len(levels) == MAX_DEPTH:
                raise InvalidModelFile(f"config.json is nested deeper than {MAX_DEPTH} levels")
            levels.append(_iterate_items(*place))


def _iterate_items(where: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the items of a list or an object lazily, because there may be millions."""
    if isinstance(value, dict):
        dot = "" if where.endswith(" ") else "."
        for key, item in value.items():
            yield f"{where}{dot}{key[:60]}", item
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield f"{where}[{index}]", item


def find_names(config: Mapping[str, Any], allowed: Allowed) -> tuple[list[Name], list[Refused]]:
    """Look up all objects in a config.

    Args:
        config: The config.
        allowed: The allowed objects.

    Returns:
        The names of the allowed objects in it, and all refused ones.
    """
    found: list[Name] = []
    refused: list[Refused] = []
    reported: set[str] = set()  # names of refused objects, to report each once
    shared: dict[int, Name] = {}
    for where, value in walk(config):
        if isinstance(value, dict) and "class_name" in value:
            name = _name(value)
            fault = _fault_of_object(value, name, allowed) or _fault_of_sharing(value, name, shared)
            if not fault:
                found.append(name)
                continue
            reported.update(part for part in value.values() if isinstance(part, str))
            refused.append(_make_refused(name, where, fault))
        elif isinstance(value, str) and value not in reported:
            # Keras may interpret any string as the name of a registered object.
            registered = keras.saving.get_registered_object(value)
            if registered is not None and not allowed.holds(registered):
                refused.append(_make_refused(value, where, _NO_PART))
    return found, refused


def _make_refused(name: object, where: str, fault: str) -> Refused:
    return Refused(escape_text(name), escape_text(where, 300), fault, fault not in _NEVER)


def _name(value: Mapping[str, Any]) -> Name:
    """Return the name of an object in a config."""
    module, class_name = value.get("module"), value["class_name"]
    registered = value.get("registered_name")
    is_function = class_name == "function"
    if is_function:
        class_name = value.get("config")
        registered = None if registered in ("function", class_name) else registered
    registered = None if registered is None else str(registered)
    module = drop_submodule(None if module is None else str(module), registered)
    return Name(module, str(class_name), registered, is_function)


def _fault_of_object(value: Mapping[str, Any], name: Name, allowed: Allowed) -> str | None:
    """Return the reason why an object is refused, or None."""
    if name.class_name == "__lambda__":
        return _CODE
    if name.class_name in _VALUES:
        return None
    if name.class_name in _ARRAYS:
        return None if _is_array(value.get("config")) else _NO_ARRAY
    expected = allowed.objects.get(name)
    if expected is None:
        return allowed.refused.get(name, _NO_PART)
    # Keras looks in the registry before it looks in the module.
    registered = keras.saving.get_registered_object(name.registered_name or name.class_name)
    return None if registered is None or registered is expected else _OTHER


def _fault_of_sharing(value: Mapping[str, Any], name: Name, shared: dict[int, Name]) -> str | None:
    """Return the reason why a shared object is refused, or None."""
    number = value.get("shared_object_id")
    if not isinstance(number, int):
        return None
    return None if shared.setdefault(number, name) == name else _SHARED


def _is_array(config: Any) -> bool:
    """Return whether Keras knows an array's dtype; others could allocate any amount of memory."""
    try:
        return isinstance(config["dtype"], str) and bool(
            keras.backend.standardize_dtype(config["dtype"])
        )
    except (TypeError, KeyError, ValueError):
        return False
