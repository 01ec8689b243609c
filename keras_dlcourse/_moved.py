"""Names that were public elsewhere: they still work there, and say where they are now."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from typing import Any


def load_moved(package: str, name: str, moved: Mapping[str, str]) -> Any:
    """Return what was moved out of a package, with a warning that names its new place.

    For the package's `__getattr__` (PEP 562).

    Args:
        package: The package in which it was, `__name__` there.
        name: What was asked for.
        moved: Each name with the package that has it now.

    Raises:
        AttributeError: If the package never had it.
    """
    if name not in moved:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    warnings.warn(
        f"{package}.{name} has moved: use {moved[name]}.{name}", FutureWarning, stacklevel=3
    )
    return getattr(importlib.import_module(moved[name]), name)
