"""Make networks small: train for integers, calibrate, prune, cluster, and find what went wrong."""

from __future__ import annotations

import importlib
from typing import Any

from keras_dlcourse._extras import require

require("keras_dlcourse.quantize", "tensorflow", "keras")

# Each name with the module that has it, loaded on first use: parts that export need TensorFlow,
# and training on another backend does not.
_PARTS = {
    # train for integers
    "quantization_aware": "integers.aware",
    "calibrate": "integers.observe",
    "Plan": "integers.planning",
    "plan": "integers.planning",
    "Rule": "integers.rules",
    "rule": "integers.rules",
    # integers after training
    "correct_bias": "after.bias_correction",
    "after_training": "after.calibrated_files",
    "equalize": "after.equalization",
    "Mixed": "after.mixed",
    "fewest_in_float": "after.mixed",
    "replace_activations": "after.replaced_activations",
    # what went wrong
    "diagnose": "diagnosis.diagnosing",
    "Diagnosis": "diagnosis.result",
    # fewer weights, filters and different numbers
    "cluster": "smaller.clustering",
    "compress": "smaller.compression",
    "distill": "smaller.distillation",
    "sizes": "smaller.file_sizes",
    "filter_groups": "smaller.filters",
    "prune_filters": "smaller.filters",
    "ConstantSparsity": "smaller.pruning",
    "PolynomialDecay": "smaller.pruning",
    "prune": "smaller.pruning",
    "sparsity": "smaller.pruning",
    "strip": "smaller.transformed",
}

__all__ = sorted(_PARTS)


def __getattr__(name: str) -> Any:
    """Import a part on first use (PEP 562)."""
    if name in _PARTS:
        value = getattr(importlib.import_module(f"{__name__}.{_PARTS[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has: {__all__}")


def __dir__() -> list[str]:
    return __all__
