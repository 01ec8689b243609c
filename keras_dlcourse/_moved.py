"""Deprecated names: the old ones still work for one version, with a warning."""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def load_moved(package: str, name: str, moved: Mapping[str, str]) -> Any:
    """Return an object that has moved or been renamed, with a warning that states its new name.

    Meant for the package's `__getattr__` (PEP 562).

    Args:
        package: The old package, i.e. its `__name__`.
        name: The requested name.
        moved: Maps each old name to its new package and name, `"package.name"`.

    Raises:
        AttributeError: If `name` is not in `moved`.
    """
    if name not in moved:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    new_package, _, new_name = moved[name].rpartition(".")
    what = "moved" if new_name == name else "been renamed"
    warnings.warn(f"{package}.{name} has {what}. Use {moved[name]}.", FutureWarning, stacklevel=3)
    return getattr(importlib.import_module(new_package), new_name)


def renamed_arguments(**names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that accepts the old names of a function's arguments, with a warning.

    The signature that `inspect` and type checkers see has the new names only. The decorator adds
    a frame to the stack, which `stacklevel` of the function's own warnings must count.

    Args:
        names: Maps each old name to the new one.

    Example:
        >>> @renamed_arguments(number="limit")
        ... def take(data, limit=None):
        ...     return data[:limit]
        >>> take("abc", limit=2)
        'ab'
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            for old, new in names.items():
                if old not in kwargs:
                    continue
                where = function.__qualname__.removesuffix(".__init__")
                if new in kwargs:
                    raise TypeError(f"{where} received {new} and its old name {old}. Omit {old}.")
                warnings.warn(
                    f"The argument {old} of {where} is now called {new}. Use {new}=.",
                    FutureWarning,
                    stacklevel=2,
                )
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return call

    return decorate
