"""The fixes that a diagnosis names, applied one after the other as long as each helps."""

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
from keras_dlcourse.data import Normalization
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.export import to_tflite
from keras_dlcourse.export.checking.inspection import own_record
from keras_dlcourse.quantize.diagnosis.diagnosing import diagnose
from keras_dlcourse.quantize.diagnosis.result import Diagnosis, shown_db
from keras_dlcourse.quantize.post_training.after_training import after_training
from keras_dlcourse.quantize.post_training.replaced_activations import replace_activations

# How the file calls an activation, how Keras does, and what integers have in its place.
REPLACEMENTS: dict[str, tuple[str, str]] = {
    "ELU": ("elu", "relu"),
    "HARD_SWISH": ("hard_silu", "relu6"),
    "GELU": ("gelu", "relu"),
    "LEAKY_RELU": ("leaky_relu", "relu"),
}


@dataclass(frozen=True)
class _Way:
    """How a file is made."""

    model: keras.Model
    options: dict[str, Any]

    def with_options(self, **options: Any) -> _Way:
        return replace(self, options={**self.options, **options})


@dataclass(frozen=True)
class Fixed:
    """What the fixes of a diagnosis made of the file.

    Attributes:
        path: The new file.
        applied: The fixes, in the order in which they were applied.
        not_applied: Fixes that need the user, each with the reason.
        before: SQNR of the old file's output in dB, and its agreement.
        after: The same of the new file.
    """

    path: Path
    applied: tuple[str, ...]
    not_applied: tuple[str, ...]
    before: tuple[float | None, float]
    after: tuple[float | None, float]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return asdict(self) | {"path": os.fspath(self.path)}

    def __str__(self) -> str:
        from keras_dlcourse._tables import text_table

        rows = [
            ["output, dB", shown_db(self.before[0]), shown_db(self.after[0])],
            ["same answer as float", f"{self.before[1]:.1%}", f"{self.after[1]:.1%}"],
        ]
        title = f"{self.path}: {', '.join(self.applied) or 'nothing'} applied"
        lines = [text_table(["", "before", "after"], rows, title=title)]
        return "\n".join(lines + [f"not applied: {text}" for text in self.not_applied])


def apply_fixes(
    model: keras.Model,
    diagnosis: Diagnosis,
    data: Any,
    limit: int = 32,
    *,
    output: str | os.PathLike[str] | None = None,
    preprocessing: Normalization | None = None,
) -> Fixed:
    """Apply the fixes of a diagnosis and write a new file.

    Each is kept if the output comes nearer to that of the float model. Activations are replaced
    last, as that makes another network: without training it is rarely nearer.

    Args:
        model: The float model.
        diagnosis: What was found in its integer file.
        data: What `fit` takes: at least 100 examples.
        limit: How many examples to compare on.
        output: The file to write; by default beside the diagnosed one, with `.fixed` before the
            ending.
        preprocessing: What pixels went through in training; by default what the file says.

    Returns:
        A `Fixed`, with what was before and after.

    Raises:
        TypeError: If `model` is not a Keras model.

    Example:
        >>> found = diagnose(model, "model.int8.tflite", data)  # doctest: +SKIP
        >>> print(apply_fixes(model, found, data))  # doctest: +SKIP
    """
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"model must be a keras.Model, whose network is changed. Received: {model!r}"
        )
    path = diagnosis.path
    target = (
        path.with_name(f"{path.stem}.fixed{path.suffix}") if output is None else user_path(output)
    )
    base = _options(path)
    if preprocessing is not None:
        base["preprocessing"] = preprocessing
    with tempfile.TemporaryDirectory(prefix="keras_dlcourse-") as folder:
        float_path = Path(folder) / "float32.tflite"
        to_tflite(model, float_path, quantization="float32", **base)

        def made(way: _Way) -> tuple[bytes, Diagnosis]:
            file = Path(folder) / path.name
            with warnings.catch_warnings():
                # The diagnosis has said which layers are left in float.
                warnings.filterwarnings("ignore", message=".*(is not all integer|stay in float)")
                after_training(way.model, file, data, **base, **way.options)
            return file.read_bytes(), diagnose(float_path, file, data, limit)

        way = _Way(model, {})
        content, best = made(way)  # again as it was, with a scale for each channel and min-max
        applied = [name for name in _AGAIN if name in diagnosis.fixes]
        refused: list[str] = []
        for name, change in _CHANGES.items():
            if name not in diagnosis.fixes:
                continue
            changed = change(way, diagnosis)
            tried, found = made(changed)
            if _ratio(found) > _ratio(best):
                way, content, best = changed, tried, found
                applied.append(name)
            else:
                refused.append(_why_not(name, best, found))
    if "leave_in_float" in diagnosis.fixes:
        refused.append("leave_in_float: for you to choose, see after_training(..., mixed=...)")
    write_bytes(target, content)
    return Fixed(
        path=target,
        applied=tuple(applied),
        not_applied=tuple(refused),
        before=(diagnosis.output_sqnr_db, diagnosis.agreement),
        after=(best.output_sqnr_db, best.agreement),
    )


_AGAIN = ("per_channel", "min_max")


def _equalized(way: _Way, diagnosis: Diagnosis) -> _Way:
    return way.with_options(equalize=True)


def _percentile(way: _Way, diagnosis: Diagnosis) -> _Way:
    return way.with_options(calibrator="percentile", percentile=99.0)


def _bias(way: _Way, diagnosis: Diagnosis) -> _Way:
    return way.with_options(correct_bias=True)


def _activations(way: _Way, diagnosis: Diagnosis) -> _Way:
    """Replace the activations of the kinds that were found at fault."""
    operators = {layer.operator for layer in diagnosis.layers}
    islands = {
        layer.operator for layer, cause in diagnosis.findings if cause.name == "float island"
    }
    kinds = islands or operators
    wanted = dict(pair for operator, pair in REPLACEMENTS.items() if operator in kinds)
    return replace(way, model=replace_activations(way.model, wanted))


_CHANGES: dict[str, Callable[[_Way, Diagnosis], _Way]] = {
    "equalize": _equalized,
    "percentile": _percentile,
    "bias_correction": _bias,
    "replace_activation": _activations,
}


def _options(path: Path) -> dict[str, Any]:
    """Return what the diagnosed file says of its pixels and classes."""
    file = ModelFile.read(path)
    record = own_record(file)
    trained = record.get("normalization")
    return {
        "preprocessing": None if trained is None else Normalization.from_dict(trained),
        "labels": record.get("labels"),
        "rgb": bool(record.get("rgb", False)),
    }


def _ratio(diagnosis: Diagnosis) -> float:
    return float("inf") if diagnosis.output_sqnr_db is None else diagnosis.output_sqnr_db


def _why_not(name: str, best: Diagnosis, found: Diagnosis) -> str:
    reason = f"{name}: it leaves {_ratio(found):.1f} dB, without it there are {_ratio(best):.1f}"
    if name == "replace_activation":
        reason += "; it makes another network, which has to be trained a little"
    return reason
