"""Quantization: train for it, calibrate, and diagnose accuracy loss."""

from __future__ import annotations

from typing import Any

from keras_dlcourse._extras import require
from keras_dlcourse._lazy import load_part
from keras_dlcourse._moved import load_moved

require("keras_dlcourse.quantize", "tensorflow", "keras")

# Maps each name to its module. Modules load on first use: those that export need TensorFlow, but
# training on another backend does not.
_PARTS = {
    # quantization-aware training
    "quantization_aware": "qat.aware",
    "calibrate": "qat.observe",
    "Plan": "qat.planning",
    "plan": "qat.planning",
    "Rule": "qat.rules",
    "rule": "qat.rules",
    # quantization after training
    "correct_bias": "post_training.bias_correction",
    "after_training": "post_training.after_training",
    "equalize": "post_training.equalization",
    "Mixed": "post_training.mixed",
    "Fixed": "post_training.fixing",
    "apply_fixes": "post_training.fixing",
    "fewest_in_float": "post_training.mixed",
    "replace_activations": "post_training.replaced_activations",
    # diagnosis
    "diagnose": "diagnosis.diagnosing",
    "Diagnosis": "diagnosis.result",
}

_MOVED = {
    name: f"keras_dlcourse.compress.{name}"
    for name in (
        "ConstantSparsity",
        "PolynomialDecay",
        "cluster",
        "compress",
        "distill",
        "filter_groups",
        "prune",
        "prune_filters",
        "sizes",
        "sparsity",
        "strip",
    )
}

__all__ = sorted(_PARTS)


def __getattr__(name: str) -> Any:
    """Import a part on first use (PEP 562)."""
    if name in _PARTS:
        return load_part(__name__, name, _PARTS)
    return load_moved(__name__, name, _MOVED)


def __dir__() -> list[str]:
    return __all__
