"""Make networks smaller: prune, cluster, narrow and distill them."""

from __future__ import annotations

from typing import Any

from keras_dlcourse._extras import require
from keras_dlcourse._lazy import load_part

require("keras_dlcourse.compress", "tensorflow", "keras")

# Maps each name to its module. Modules load on first use: `compress` exports files, which needs
# TensorFlow, but training on another backend does not.
_PARTS = {
    "prune": "pruning",
    "sparsity": "pruning",
    "ConstantSparsity": "pruning",
    "PolynomialDecay": "pruning",
    "cluster": "clustering",
    "strip": "transformed",
    "prune_filters": "filters",
    "filter_groups": "filters",
    "distill": "distillation",
    "sizes": "file_sizes",
    "compress": "compression",
}

__all__ = sorted(_PARTS)


def __getattr__(name: str) -> Any:
    """Import a part on first use (PEP 562)."""
    if name not in _PARTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}. Available: {__all__}")
    return load_part(__name__, name, _PARTS)


def __dir__() -> list[str]:
    return __all__
