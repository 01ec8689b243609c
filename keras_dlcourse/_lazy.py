"""Public names that are imported on first use."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any


def load_part(package: str, name: str, parts: Mapping[str, str]) -> Any:
    """Import a public name from its module, and keep it in the package.

    Meant for the package's `__getattr__` (PEP 562).

    Args:
        package: The package, i.e. its `__name__`.
        name: The requested name, a key of `parts`.
        parts: Maps each public name to its module, relative to the package.
    """
    value = getattr(importlib.import_module(f"{package}.{parts[name]}"), name)
    setattr(sys.modules[package], name, value)
    return value
