"""Apply the fixes named by a diagnosis, one after another, and keep those that help."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras

from keras_dlcourse._files import user_path, write_bytes
from keras_dlcourse._moved import renamed_arguments
from keras_dlcourse.data import Normalization
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.export import to_tflite
from keras_dlcourse.export.checking.inspection import own_record, read_inputs
from keras_dlcourse.quantize.diagnosis.diagnosing import diagnose
from keras_dlcourse.quantize.diagnosis.result import Diagnosis, format_db
from keras_dlcourse.quantize.post_training.after_training import after_training
from keras_dlcourse.quantize.post_training.replaced_activations import replace_activations

# Maps each operator to the activation's name in Keras and to its integer-friendly replacement.
REPLACEMENTS: dict[str, tuple[str, str]] = {
    "ELU": ("elu", "relu"),
    "HARD_SWISH": ("hard_silu", "relu6"),
    "GELU": ("gelu", "relu"),
    "LEAKY_RELU": ("leaky_relu", "relu"),
}


@dataclass(frozen=True)
class _Way:
    """How to create a file: the model and the options."""

    model: keras.Model
    options: dict[str, Any]

    def with_options(self, **options: Any) -> _Way:
        return replace(self, options={**self.options, **options})


@dataclass(frozen=True)
class Fixed:
    """The result of applying the fixes of a diagnosis.

    Attributes:
        path: The new file.
        applied: The fixes, in the order in which they were applied.
        not_applied: Fixes that did not help or that need the user, each with the reason.
        before: SQNR in dB of the old file's output, and its agreement with the float model.
        after: The same for the new file.
    """

    path: Path
    applied: tuple[str, ...]
    not_applied: tuple[str, ...]
    before: tuple[float | None, float]
    after: tuple[float | None, float]

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON-serializable values."""
        return asdict(self) | {"path": os.fspath(self.path)}

    def __str__(self) -> str:
        from keras_dlcourse._tables import text_table

        rows = [
            ["output SQNR (dB)", format_db(self.before[0]), format_db(self.after[0])],
            ["same answer as float", f"{self.before[1]:.1%}", f"{self.after[1]:.1%}"],
        ]
        title = f"{self.path}: {', '.join(self.applied) or 'nothing'} applied"
        lines = [text_table(["", "before", "after"], rows, title=title)]
        return "\n".join(lines + [f"not applied: {text}" for text in self.not_applied])


@renamed_arguments(output="path")
def apply_fixes(
    model: keras.Model,
    diagnosis: Diagnosis,
    data: Any,
    limit: int = 32,
    *,
    path: str | os.PathLike[str] | None = None,
    preprocessing: Normalization | None = None,
) -> Fixed:
    """Apply the fixes of a diagnosis and write a new file.

    Each fix is kept if it brings the output closer to that of the float model. Activations are
    replaced last, because this changes the network: without training, it rarely helps.

    Args:
        model: The float model.
        diagnosis: The diagnosis of its integer file.
        data: Same as for `fit`; at least 100 examples.
        limit: Maximum number of examples to compare on.
        path: The file to write; by default it is next to the diagnosed file, with `.fixed`
            before the extension.
        preprocessing: The normalization applied to pixels in training; by default it is read from
            the file.

    Returns:
        A `Fixed`, with the results before and after.

    Raises:
        TypeError: If `model` is not a Keras model.

    Example:
        >>> found = diagnose(model, "model.int8.tflite", data)  # doctest: +SKIP
        >>> print(apply_fixes(model, found, data))  # doctest: +SKIP
    """
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"model must be a keras.Model, because its layers are modified. Received: {model!r}"
        )
    old = diagnosis.path
    target = old.with_name(f"{old.stem}.fixed{old.suffix}") if path is None else user_path(path)
    base = _options(old)
    if preprocessing is not None:
        base["preprocessing"] = preprocessing
    with tempfile.TemporaryDirectory(prefix="keras_dlcourse-") as folder:
        float_path = Path(folder) / "float32.tflite"
        to_tflite(model, float_path, quantization="float32", **base)

        def attempt(way: _Way) -> tuple[bytes, Diagnosis]:
            file = Path(folder) / old.name
            with warnings.catch_warnings():
                # The diagnosis has already reported the layers that are left in float.
                warnings.filterwarnings("ignore", message=".*(is not all integer|stays? in float)")
                after_training(way.model, file, data, **base, **way.options)
            return file.read_bytes(), diagnose(float_path, file, data, limit)

        way = _Way(model, {})
        content, best = attempt(way)  # baseline: one scale per channel, min-max ranges
        applied = [name for name in _AGAIN if name in diagnosis.fixes]
        refused: list[str] = []
        for name, change in _CHANGES.items():
            if name not in diagnosis.fixes:
                continue
            changed = change(way, diagnosis)
            tried, found = attempt(changed)
            if _ratio(found) > _ratio(best):
                way, content, best = changed, tried, found
                applied.append(name)
            else:
                refused.append(_why_not(name, best, found))
    if "leave_in_float" in diagnosis.fixes:
        refused.append("leave_in_float: requires your choice, see after_training(mixed=...)")
    write_bytes(target, content)
    return Fixed(
        path=target,
        applied=tuple(applied),
        not_applied=tuple(refused),
        before=(diagnosis.output_sqnr_db, diagnosis.agreement),
        after=(best.output_sqnr_db, best.agreement),
    )


_AGAIN = ("per_channel", "min_max")


def _equalize(way: _Way, diagnosis: Diagnosis) -> _Way:
    return way.with_options(equalize=True)


def _use_percentile(way: _Way, diagnosis: Diagnosis) -> _Way:
    return way.with_options(calibrator="percentile", percentile=99.0)


def _correct_bias(way: _Way, diagnosis: Diagnosis) -> _Way:
    return way.with_options(correct_bias=True)


def _replace_activations(way: _Way, diagnosis: Diagnosis) -> _Way:
    """Replace the activations at fault."""
    operators = {layer.operator for layer in diagnosis.layers}
    islands = {
        layer.operator for layer, cause in diagnosis.findings if cause.name == "float island"
    }
    kinds = islands or operators
    wanted = dict(pair for operator, pair in REPLACEMENTS.items() if operator in kinds)
    return replace(way, model=replace_activations(way.model, wanted))


_CHANGES: dict[str, Callable[[_Way, Diagnosis], _Way]] = {
    "equalize": _equalize,
    "percentile": _use_percentile,
    "bias_correction": _correct_bias,
    "replace_activation": _replace_activations,
}


def _options(path: Path) -> dict[str, Any]:
    """Return the pixel and class metadata of the diagnosed file."""
    file = ModelFile.read(path)
    given = read_inputs(file)[0]
    return {
        "preprocessing": given.normalization,
        "labels": own_record(file).get("labels"),
        "rgb": given.rgb,
    }


def _ratio(diagnosis: Diagnosis) -> float:
    return float("inf") if diagnosis.output_sqnr_db is None else diagnosis.output_sqnr_db


def _why_not(name: str, best: Diagnosis, found: Diagnosis) -> str:
    reason = f"{name}: gives {_ratio(found):.1f} dB, compared to {_ratio(best):.1f} dB without it"
    if name == "replace_activation":
        reason += "; it changes the network, which needs some training afterwards"
    return reason
