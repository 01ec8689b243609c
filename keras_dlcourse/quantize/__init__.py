"""Make networks small: train for integers, calibrate, prune, cluster, and find what went wrong."""

from __future__ import annotations

import importlib
from typing import Any

from keras_dlcourse._extras import require

require("keras_dlcourse.quantize", "tensorflow", "keras")

# Each name with the module that has it, loaded on first use: parts that export need TensorFlow,
# and training on another backend does not.
_PARTS = {
    "ConstantSparsity": "pruning",
    "Plan": "planning",
    "PolynomialDecay": "pruning",
    "Rule": "rules",
    "calibrate": "observe",
    "cluster": "clustering",
    "compress": "compression",
    "distill": "distillation",
    "filter_groups": "filters",
    "plan": "planning",
    "prune": "pruning",
    "prune_filters": "filters",
    "quantization_aware": "aware",
    "rule": "rules",
    "sizes": "file_sizes",
    "sparsity": "pruning",
    "strip": "transformed",
}

__all__ = sorted(_PARTS)


def __getattr__(name: str) -> Any:
    """Import a part on first use (PEP 562)."""
    if name in _PARTS:
        value = getattr(importlib.import_module(f"{__name__}.{_PARTS[name]}"), name)
        globals()[name] = value  # in place of a submodule of the same name
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has: {__all__}")


def __dir__() -> list[str]:
    return __all__
