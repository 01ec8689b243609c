"""Register this package's Keras objects as soon as Keras is imported, and not before.

A `.keras` file refers to classes by name, and Keras finds those that are registered. Ours are
registered when `keras_dlcourse.layers`, `losses` or `metrics` is imported. `import
keras_dlcourse` does not import Keras, so it installs an import hook instead: as soon as Keras is
imported, the subpackages with registered classes are imported too. So `keras.models.load_model`
finds them after `import keras_dlcourse`, whatever the order of imports.
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
"""Modules whose import registers the classes that a `.keras` file can contain."""


def register_with_keras() -> None:
    """Import `PARTS` now if Keras is already imported, otherwise right after it is."""
    if sys.modules.get("keras") is not None:
        _import_parts()
    else:
        sys.meta_path.insert(0, _AfterKeras())


def _import_parts() -> None:
    """Import `PARTS`, which register their classes. A device bundle does not contain them."""
    for part in PARTS:
        if importlib.util.find_spec(part) is not None:
            importlib.import_module(part)


# These two classes duck-type a finder and a loader, because importing the base classes in
# importlib.abc takes longer than importing this package.
class _AfterKeras:
    """Finder that handles only Keras and removes itself once Keras is loaded."""

    def __init__(self) -> None:
        self.searching = False

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return Keras's own spec, with a loader that imports `PARTS` afterwards."""
        if name != "keras" or self.searching:
            return None
        self.searching = True  # the search below asks every finder, including this one
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.searching = False
        if spec is not None and spec.loader is not None:
            spec.loader = _LoaderThenParts(spec.loader, self)  # type: ignore[assignment]
        return spec


class _LoaderThenParts:
    """Loader that runs Keras's own loader and then imports `PARTS`."""

    def __init__(self, loader: Loader, finder: _AfterKeras) -> None:
        self.loader = loader
        self.finder = finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Return the module that Keras's own loader creates."""
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Import Keras as usual, then `PARTS`."""
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        module.__loader__ = self.loader
        self.loader.exec_module(module)
        if self.finder in sys.meta_path:
            sys.meta_path.remove(self.finder)
        _import_parts()
