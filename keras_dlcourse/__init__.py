"""keras_dlcourse: take a Keras 3 model from `model.fit` to a device, with proof.

Each subpackage is loaded on first use, so `import keras_dlcourse` does not import Keras, and a
device that only has `keras_dlcourse.edge` never needs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from keras_dlcourse._registration import register_with_keras
from keras_dlcourse._version import __version__

if TYPE_CHECKING:
    from keras_dlcourse import (
        boxes,
        callbacks,
        compress,
        data,
        edge,
        explain,
        export,
        graph,
        layers,
        losses,
        metrics,
        models,
        quantize,
        report,
        retrieval,
        saving,
        training,
    )
    from keras_dlcourse.saving import load

__all__ = [
    "__version__",
    "boxes",
    "callbacks",
    "compress",
    "data",
    "edge",
    "explain",
    "export",
    "graph",
    "layers",
    "load",
    "losses",
    "metrics",
    "models",
    "quantize",
    "report",
    "retrieval",
    "saving",
    "training",
]


def __getattr__(name: str) -> Any:
    """Import a subpackage on first use (PEP 562)."""
    if name == "load":
        return importlib.import_module(f"{__name__}.saving").load
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(
        f"module {__name__!r} has no attribute {name!r}. It has: {', '.join(__all__)}"
    )


def __dir__() -> list[str]:
    return __all__


register_with_keras()
