"""Write an int8 file of a float model, with ranges measured on data."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any

import keras

from keras_dlcourse import layers
from keras_dlcourse.data import take
from keras_dlcourse.export import ExportResult, to_tflite
from keras_dlcourse.quantize.qat.aware import quantization_aware
from keras_dlcourse.quantize.qat.observe import calibrate


def write_calibrated(
    model: keras.Model,
    path: str | os.PathLike[str],
    data: Any,
    *,
    calibrator: str = "min_max",
    percentile: float = 99.99,
    keep_float: Sequence[str] = (),
    **options: Any,
) -> ExportResult:
    """Write a float model as an int8 file.

    Args:
        model: A trained float model.
        path: The file to write.
        data: Same as for `fit`; at least 100 examples.
        calibrator: As in `after_training`.
        percentile: As in `after_training`.
        keep_float: As in `after_training`.
        **options: Options of `to_tflite`.

    Returns:
        An `ExportResult`.
    """
    if calibrator == "min_max" and not keep_float:
        return to_tflite(model, path, quantization="int8", calibration=data, **options)
    quantized = quantization_aware(model, skip=tuple(keep_float))
    calibrate(quantized, data, method=calibrator, percentile=percentile)
    with warnings.catch_warnings():
        if keep_float:  # the caller asked for float layers
            warnings.filterwarnings("ignore", message=".* is not all integer")
        return to_tflite(quantized, path, **(options | _read_metadata(data, model, options)))


def _read_metadata(data: Any, model: keras.Model, options: dict[str, Any]) -> dict[str, Any]:
    """Return the pixel and class metadata of the data that neither caller nor model provides."""
    examples, recorded = take(data, 1), layers.describe(model)
    told: dict[str, Any] = {}
    if options.get("preprocessing") is None and examples.normalization is not None:
        told["preprocessing"] = examples.normalization
    if options.get("labels") is None and (recorded is None or recorded.class_names is None):
        told["labels"] = examples.class_names
    return told
