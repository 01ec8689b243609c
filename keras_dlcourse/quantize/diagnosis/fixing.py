"""The fixes that a diagnosis names, applied one after the other as long as each helps."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras

from keras_dlcourse._files import user_path, write_bytes
from keras_dlcourse.data import Normalization
from keras_dlcourse.edge.model_file import ModelFile
from keras_dlcourse.export import to_tflite
from keras_dlcourse.export.inspection import own_record
from keras_dlcourse.quantize.after.calibrated_files import after_training
from keras_dlcourse.quantize.after.replaced_activations import replace_activations
from keras_dlcourse.quantize.diagnosis.result import Diagnosis, Fixed

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


def apply_fixes(
    model: keras.Model,
    diagnosis: Diagnosis,
    data: Any,
    limit: int,
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
    """
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
            from keras_dlcourse.quantize.diagnosis.diagnosing import diagnose

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
