"""Make this package's Keras objects known to Keras as soon as Keras is there, and not before.

A `.keras` file names the classes it holds, and Keras finds those that have been registered. They
register when `keras_dlcourse.layers`, `losses` or `metrics` is imported. `import
keras_dlcourse` imports no Keras, so it leaves a note instead: when Keras gets imported, the parts
with registered classes follow at once. So `keras.models.load_model` finds them after `import
keras_dlcourse`, in any order of imports.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType

PARTS = ("keras_dlcourse.layers", "keras_dlcourse.losses", "keras_dlcourse.metrics")
"""Modules whose import registers what a `.keras` file can hold."""


def register_with_keras() -> None:
    """Import `PARTS` now if Keras is imported already, else right after it is."""
    if sys.modules.get("keras") is not None:
        _import_parts()
    else:
        sys.meta_path.insert(0, _AfterKeras())


def _import_parts() -> None:
    """Import the parts; their classes register themselves. A bundle for a device lacks them."""
    for part in PARTS:
        if importlib.util.find_spec(part) is not None:
            importlib.import_module(part)


# The two below are a finder and a loader by their methods: the base classes in importlib.abc cost
# more to import than all of this package.
class _AfterKeras:
    """Finder that steps in for Keras only, and takes itself away once Keras is loaded."""

    def __init__(self) -> None:
        self.searching = False

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return Keras's own spec, with a loader that imports the parts afterwards."""
        if name != "keras" or self.searching:
            return None
        self.searching = True  # the search below asks every finder, this one too
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.searching = False
        if spec is not None and spec.loader is not None:
            spec.loader = _LoaderThenParts(spec.loader, self)  # type: ignore[assignment]
        return spec


class _LoaderThenParts:
    """Loader that runs Keras's own loader and then imports the parts."""

    def __init__(self, loader: Loader, finder: _AfterKeras) -> None:
        self.loader = loader
        self.finder = finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Return what Keras's own loader makes."""
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Import Keras as ever, then the parts."""
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        module.__loader__ = self.loader
        self.loader.exec_module(module)
        if self.finder in sys.meta_path:
            sys.meta_path.remove(self.finder)
        _import_parts()
