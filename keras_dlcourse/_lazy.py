"""Public names that are imported on first use."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Collection, Mapping
from types import ModuleType
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


def load_on_use(package: str, shared: Collection[str] = ()) -> None:
    """Let a package import its public names, all those of its module `_api`, on first use.

    So some modules of a package that needs Keras can work without it.

    Args:
        package: The package, i.e. its `__name__`.
        shared: The public names that modules of the package have as well. Such a module can only be
            imported by its full name.
    """
    module = sys.modules[package]
    module.__dict__["_shared_names"] = frozenset(shared)
    module.__class__ = _LazyPackage


class _LazyPackage(ModuleType):
    """A package whose modules and public names are imported on first use."""

    _shared_names: frozenset[str]

    def __getattr__(self, name: str) -> Any:
        """Import a module of the package, or all of its public names, and return one of them."""
        if name.startswith("__") and name != "__all__":  # Python and its tools look for many
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        full_name = f"{self.__name__}.{name}"
        if name not in self._shared_names and importlib.util.find_spec(full_name) is not None:
            return importlib.import_module(full_name)
        if "__all__" not in self.__dict__:
            api = importlib.import_module(f"{self.__name__}._api")
            names = {public: getattr(api, public) for public in api.__all__}
            self.__dict__.update(names | {"__all__": api.__all__})
        if name not in self.__dict__:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return self.__dict__[name]

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute. The import of a module does not hide the public name that it shares."""
        if name not in self._shared_names or not isinstance(value, ModuleType):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        """Return the public names."""
        return list(self.__all__)
