"""Builders that take options by name show them, with their defaults, in `help()` and in editors."""

from __future__ import annotations

import functools
import inspect
import re
import textwrap
import typing
from collections.abc import Callable
from typing import Any, TypeVar

import keras

from keras_dlcourse.models._shared.check_arguments import check_arguments

Builder = TypeVar("Builder", bound=Callable[..., keras.Model])

# The line of a docstring in which the options are listed, and the lines that continue it.
_OPTIONS_ENTRY = re.compile(r"^        \*\*options: .*\n(?:            .*\n)*", re.M)


def show_options(**defaults: Any) -> Callable[[Builder], Builder]:
    """Return a decorator that shows the options of a builder and fills in their defaults.

    Args:
        **defaults: Defaults of options; those of shared options are in `check_arguments`.

    Returns:
        A decorator for a function whose last parameter is `**options: Unpack[Options]`, or a
            subclass of `Options`; each option is described by `Annotated[type, description]`. Other
            functions are returned unchanged. It raises TypeError if an option has no default.
    """
    return lambda builder: _add_options(builder, defaults)


def _add_options(builder: Builder, defaults: dict[str, Any]) -> Builder:
    signature = inspect.signature(builder)
    parameters = list(signature.parameters.values())
    if not parameters or parameters[-1].kind is not inspect.Parameter.VAR_KEYWORD:
        return builder
    *positional, last = parameters
    hint = typing.get_type_hints(builder, include_extras=True)[last.name]
    (options,) = typing.get_args(hint)
    hints = typing.get_type_hints(options, include_extras=True)
    shared = inspect.signature(check_arguments).parameters
    values = {name: shared[name].default for name in hints if name in shared} | defaults
    if missing := sorted(set(hints) - set(values)):
        raise TypeError(f"options of {builder.__name__} need defaults: {', '.join(missing)}")

    @functools.wraps(builder)
    def build(*args: Any, **given: Any) -> keras.Model:
        return builder(*args, **{**values, **given})

    # Options of the family first, then the shared ones.
    names = sorted(hints, key=lambda name: name in shared or name == "name")
    shown = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=values[name],
            annotation=typing.get_args(hints[name])[0],
        )
        for name in names
    ]
    build.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*positional, *shown]
    )
    entries = "".join(_entry(name, typing.get_args(hints[name])[1]) for name in names)
    build.__doc__ = _OPTIONS_ENTRY.sub(lambda match: entries, builder.__doc__ or "")
    return typing.cast(Builder, build)


def _entry(name: str, description: str) -> str:
    """Return the entry of an argument in a docstring."""
    return (
        textwrap.fill(
            f"{name}: {description}",
            100,
            initial_indent=" " * 8,
            subsequent_indent=" " * 12,
            break_long_words=False,
        )
        + "\n"
    )
