"""Builders by name, for the command line and for loops over every family."""

from __future__ import annotations

import difflib
import inspect
import typing
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import keras

Builder = TypeVar("Builder", bound=Callable[..., keras.Model])

_BUILDERS: dict[str, Callable[..., keras.Model]] = {}


def register(name: str) -> Callable[[Builder], Builder]:
    """Return a decorator that makes a builder known as `name`.

    Args:
        name: Lower case with underscores, e.g. `"mobilenet_v2"`.

    Returns:
        A decorator that returns the builder unchanged.

    Raises:
        ValueError: If `name` is no lower-case identifier, or is taken.

    Example:
        >>> @register("mobilenet")
        ... def second_mobilenet(): ...
        Traceback (most recent call last):
        ...
        ValueError: The model name 'mobilenet' is taken. Choose another name.
    """
    if not name.isidentifier() or name != name.lower():
        raise ValueError(
            "A model name must be lower case, with letters, digits and underscores only. "
            f"Received: {name!r}"
        )
    if name in _BUILDERS:
        raise ValueError(f"The model name {name!r} is taken. Choose another name.")

    def decorator(builder: Builder) -> Builder:
        _BUILDERS[name] = builder
        return builder

    return decorator


def names() -> tuple[str, ...]:
    """Return the names of all models that `build` knows, in alphabetical order.

    Example:
        >>> "mobilenet_v2" in names()
        True
    """
    return tuple(sorted(_BUILDERS))


def build(name: str, **kwargs: Any) -> keras.Model:
    """Build a model by its name.

    Args:
        name: One of `names()`.
        **kwargs: Arguments of the builder, e.g. of `MobileNetV2`.

    Returns:
        A new Keras model.

    Raises:
        ValueError: If there is no such model.
        TypeError: If the builder has no such argument.

    Example:
        >>> model = build("mobilenet_v2", input_shape=(28, 28, 1), alpha=0.35, classes=10)
        >>> model.output_shape
        (None, 10)
    """
    if name not in _BUILDERS:
        raise ValueError(f"No model is called {name!r}.{_suggestion(str(name), names())}")
    builder = _BUILDERS[name]
    arguments = _arguments(builder)
    for argument in kwargs:
        if argument not in arguments:
            raise TypeError(
                f"{name} has no argument {argument!r}.{_suggestion(argument, arguments)}"
            )
    return builder(**kwargs)


def _arguments(builder: Callable[..., keras.Model]) -> list[str]:
    """Return the names of all arguments of a builder, those of its options among them."""
    named = [
        name
        for name, parameter in inspect.signature(builder).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    ]
    hints = typing.get_type_hints(builder, include_extras=True)
    options = [typing.get_args(hint)[0] for name, hint in hints.items() if name == "options"]
    return [*named, *(key for option in options for key in option.__annotations__)]


def _suggestion(word: str, known: Iterable[str]) -> str:
    """Return the sentences that help with a misspelt word."""
    known = list(known)
    closest = difflib.get_close_matches(word.lower(), known, n=1)
    question = f" Did you mean {closest[0]!r}?" if closest else ""
    return f"{question} Known: {', '.join(known)}"
