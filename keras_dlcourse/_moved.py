"""Deprecated names and locations of public objects: they still work, with a warning."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from typing import Any


def load_moved(package: str, name: str, moved: Mapping[str, str]) -> Any:
    """Return an object that has moved out of a package, with a warning that names its new location.

    Meant for the package's `__getattr__` (PEP 562).

    Args:
        package: The old package, i.e. its `__name__`.
        name: The requested name.
        moved: Maps each moved name to its new package.

    Raises:
        AttributeError: If `name` is not in `moved`.
    """
    if name not in moved:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    warnings.warn(
        f"{package}.{name} has moved. Use {moved[name]}.{name}.", FutureWarning, stacklevel=3
    )
    return getattr(importlib.import_module(moved[name]), name)


def load_renamed(package: str, name: str, renamed: Mapping[str, str]) -> Any:
    """Return an object of a package by its old name, with a warning that states its new name.

    Meant for the package's `__getattr__` (PEP 562).

    Args:
        package: The package, i.e. its `__name__`.
        name: The requested name.
        renamed: Maps each old name to the new one.

    Raises:
        AttributeError: If `name` is not in `renamed`.
    """
    if name not in renamed:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    warnings.warn(
        f"{package}.{name} has been renamed. Use {package}.{renamed[name]}.",
        FutureWarning,
        stacklevel=3,
    )
    return getattr(importlib.import_module(package), renamed[name])
