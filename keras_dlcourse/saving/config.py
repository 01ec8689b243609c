"""The config of a `.keras` file: every object that it names is looked up before any is made."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from keras_dlcourse.saving.allowed import Allowed, Name
from keras_dlcourse.saving.errors import InvalidModelFile, Refused, printable

MAX_DEPTH = 100
"""How deep lists and objects may be nested: a model within a model takes eight levels."""

MAX_OBJECTS = 50_000
"""How many objects a config may name, tensors included: Keras's EfficientNetB7 names 3,750."""

_NO_PART = "it is no part of Keras or keras_dlcourse"
_CODE = "it holds compiled Python code"
_NO_ARRAY = "its numbers are of no type that Keras knows"
_OTHER = "something else is registered under its name in this process"
_SHARED = "its place would get an object of another class"
_NEVER = (_CODE, _NO_ARRAY, _OTHER, _SHARED)  # trust= opens none of these

# What Keras writes for values that JSON has not. Its `__lambda__` and `__typespec__` stay out.
_VALUES = ("__keras_tensor__", "__bytes__", "__ellipsis__", "__slice__")
_ARRAYS = ("__tensor__", "__numpy__")


def parse(content: bytes) -> dict[str, Any]:
    """Return `config.json` as Keras reads it.

    Raises:
        InvalidModelFile: If it is none, or larger than any model needs.
    """
    try:
        config = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidModelFile(f"config.json is no JSON: {printable(error)}") from error
    if not isinstance(config, dict):
        raise InvalidModelFile("config.json describes no model")
    objects = sum(isinstance(value, dict) and "class_name" in value for _, value in walk(config))
    if objects > MAX_OBJECTS:
        raise InvalidModelFile(f"config.json names {objects} objects, more than {MAX_OBJECTS}")
    return config


def walk(config: Any) -> Iterator[tuple[str, Any]]:
    """Return all that a config holds, each with its place in it, in the order of the file.

    Raises:
        InvalidModelFile: If it is nested deeper than `MAX_DEPTH`.
    """
    yield "config.json", config
    levels = [_inside("config.json: ", config)]
    while levels:
        place = next(levels[-1], None)
        if place is None:
            levels.pop()
            continue
        yield place
        if isinstance(place[1], dict | list):
            if len(levels) == MAX_DEPTH:
                raise InvalidModelFile(f"config.json is nested deeper than {MAX_DEPTH} levels")
            levels.append(_inside(*place))


def _inside(where: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Return what a list or an object holds, one by one: there may be millions."""
    if isinstance(value, dict):
        dot = "" if where.endswith(" ") else "."
        for key, item in value.items():
            yield f"{where}{dot}{key[:60]}", item
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield f"{where}[{index}]", item


def names_in(config: Mapping[str, Any], allowed: Allowed) -> tuple[list[Name], list[Refused]]:
    """Look up every object that a config names.

    Args:
        config: The config.
        allowed: What it may name.

    Returns:
        The names of the allowed objects in it, and all that is refused.
    """
    found: list[Name] = []
    refused: list[Refused] = []
    reported: set[str] = set()  # what the refused objects are called, to say it once
    shared: dict[int, Name] = {}
    for where, value in walk(config):
        if isinstance(value, dict) and "class_name" in value:
            name = _name(value)
            fault = _fault_of_object(value, name, allowed) or _fault_of_sharing(value, name, shared)
            if not fault:
                found.append(name)
                continue
            reported.update(part for part in value.values() if isinstance(part, str))
            refused.append(_refused(name, where, fault))
        elif isinstance(value, str) and value not in reported:
            # Keras takes a string, wherever it is, for what is registered under it.
            registered = keras.saving.get_registered_object(value)
            if registered is not None and not allowed.holds(registered):
                refused.append(_refused(value, where, _NO_PART))
    return found, refused


def _refused(name: object, where: str, fault: str) -> Refused:
    return Refused(printable(name), printable(where, 300), fault, fault not in _NEVER)


def _name(value: Mapping[str, Any]) -> Name:
    """Return what an object in a config calls itself."""
    module, class_name = value.get("module"), value["class_name"]
    registered = value.get("registered_name")
    is_function = class_name == "function"
    if is_function:
        class_name = value.get("config")
        registered = None if registered in ("function", class_name) else registered
    return Name(
        None if module is None else str(module),
        str(class_name),
        None if registered is None else str(registered),
        is_function,
    )


def _fault_of_object(value: Mapping[str, Any], name: Name, allowed: Allowed) -> str | None:
    """Return why an object is refused, or None."""
    if name.class_name == "__lambda__":
        return _CODE
    if name.class_name in _VALUES:
        return None
    if name.class_name in _ARRAYS:
        return None if _is_array(value.get("config")) else _NO_ARRAY
    expected = allowed.objects.get(name)
    if expected is None:
        return allowed.refused.get(name, _NO_PART)
    # Keras asks the registry first, and the module only then.
    registered = keras.saving.get_registered_object(name.registered_name or name.class_name)
    return None if registered is None or registered is expected else _OTHER


def _fault_of_sharing(value: Mapping[str, Any], name: Name, shared: dict[int, Name]) -> str | None:
    """Return why an object that is in several places is refused, or None."""
    number = value.get("shared_object_id")
    if not isinstance(number, int):
        return None
    return None if shared.setdefault(number, name) == name else _SHARED


def _is_array(config: Any) -> bool:
    """Whether an array has a type that Keras knows; others could ask for any amount of memory."""
    try:
        return isinstance(config["dtype"], str) and bool(
            keras.backend.standardize_dtype(config["dtype"])
        )
    except (TypeError, KeyError, ValueError):
        return False
