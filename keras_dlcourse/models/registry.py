"""Builders by name, for the command line and for loops over all families."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import keras

Builder = TypeVar("Builder", bound="Callable[..., keras.Model]")

_BUILDERS: dict[str, Callable[..., keras.Model]] = {}


def register(name: str, **defaults: Any) -> Callable[[Builder], Builder]:
    """Return a decorator that registers a builder under `name`.

    Args:
        name: Lowercase name with underscores, e.g. `"mobilenet_v2"`.
        **defaults: Defaults of the options of a builder whose last parameter is
            `**options: Unpack[Options]`; the defaults of shared options need not be given.

    Returns:
        A decorator that returns the builder, which then shows its options in `help()`.

    Raises:
        ValueError: If `name` is not a lowercase identifier, or is already registered.

    Example:
        >>> @register("mobilenet")
        ... def second_mobilenet(): ...
        Traceback (most recent call last):
        ...
        ValueError: The model name 'mobilenet' is already registered. Choose another name.
    """
    if not name.isidentifier() or name != name.lower():
        raise ValueError(
            f"name must be lowercase, with letters, digits and underscores only. Received: {name!r}"
        )
    if name in _BUILDERS:
        raise ValueError(f"The model name {name!r} is already registered. Choose another name.")

    def decorator(builder: Builder) -> Builder:
        from keras_dlcourse.models._shared.show_options import show_options  # imports Keras

        _BUILDERS[name] = builder = show_options(**{"name": name, **defaults})(builder)
        return builder

    return decorator


def names() -> tuple[str, ...]:
    """Return the names of all models that `build` knows, in alphabetical order.

    Example:
        >>> "mobilenet_v2" in names()
        True
    """
    return tuple(sorted(_BUILDERS))


def check_name(name: str, known: Collection[str]) -> None:
    """Raise ValueError if a name is not one of the known ones of networks.

    Example:
        >>> check_name("lenet", ["alexnet", "lenet5"])
        Traceback (most recent call last):
        ...
        ValueError: There is no model named 'lenet'. Did you mean 'lenet5'? Known: alexnet, lenet5
    """
    if name not in known:
        raise ValueError(f"There is no model named {name!r}.{_suggestion(str(name), known)}")


def build(name: str, **kwargs: Any) -> keras.Model:
    """Build a model by its name.

    Args:
        name: One of `names()`.
        **kwargs: Arguments of the builder, e.g. of `MobileNetV2`.

    Returns:
        A new Keras model.

    Raises:
        ValueError: If no model has that name.
        TypeError: If the builder does not have one of the arguments.

    Example:
        >>> model = build("mobilenet_v2", input_shape=(28, 28, 1), alpha=0.35, classes=10)
        >>> model.output_shape
        (None, 10)
    """
    check_name(name, names())
    builder = _BUILDERS[name]
    arguments = _arguments(builder)
    for argument in kwargs:
        if argument not in arguments:
            raise TypeError(
                f"{name} has no argument {argument!r}.{_suggestion(argument, arguments)}"
            )
    return builder(**kwargs)


def _arguments(builder: Callable[..., keras.Model]) -> list[str]:
    """Return the names of all arguments of a builder."""
    return list(inspect.signature(builder).parameters)


def _suggestion(word: str, known: Iterable[str]) -> str:
    """Return a hint for a misspelled word: the closest match and all known words."""
    known = list(known)
    closest = difflib.get_close_matches(word.lower(), known, n=1)
    question = f" Did you mean {closest[0]!r}?" if closest else ""
    return f"{question} Known: {', '.join(known)}"
