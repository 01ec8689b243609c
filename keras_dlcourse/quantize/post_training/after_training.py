"""Quantization after training: calibrate, correct where needed, and write an integer file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import keras

from keras_dlcourse._checks import check_number, check_one_of
from keras_dlcourse.data import Normalization
from keras_dlcourse.export import ExportResult
from keras_dlcourse.layers.compression.fake_quantize import is_quantized
from keras_dlcourse.quantize.post_training import equalization
from keras_dlcourse.quantize.post_training.bias_correction import correct_bias as corrected
from keras_dlcourse.quantize.post_training.calibrated_files import write_calibrated
from keras_dlcourse.quantize.post_training.mixed import fewest_in_float
from keras_dlcourse.quantize.qat.observe import METHODS


def after_training(
    model: keras.Model,
    path: str | os.PathLike[str],
    data: Any,
    *,
    calibrator: str = "min_max",
    percentile: float = 99.99,
    equalize: bool = False,
    correct_bias: bool = False,
    keep_float: Sequence[str] = (),
    mixed: float | None = None,
    labels: Sequence[str] | None = None,
    preprocessing: Normalization | None = None,
    rgb: bool | None = None,
) -> ExportResult:
    """Write a trained model as an int8 `.tflite` file, with ranges measured on data.

    With default arguments this is `to_tflite(model, path, quantization="int8",
    calibration=data)`: TensorFlow's converter measures the smallest and largest values, which it
    does well. Everything that the converter does not offer (other calibrators, layers left in
    float) uses a quantization-aware copy of the model, whose ranges are measured by `calibrate`.
    Both ways use the same converter and produce the same kernels and metadata.
    (ai-edge-quantizer gives the same accuracy with min-max ranges. However, its files declare
    version 1 of every operator, so they do not show which runtimes support them, and its
    calibrator only receives the ends of a tensor's range, which are not enough for a percentile.)

    Args:
        model: A trained float model. It is not modified.
        path: The file to write.
        data: Same as for `fit`, normalized as in training; at least 100 examples.
        calibrator: `"min_max"`, or `"moving_average"` or `"percentile"`, which sacrifice rare
            values for a finer step; see `calibrate`.
        percentile: For `"percentile"`, the percentage of values that a range covers on each side.
        equalize: Whether to equalize the channels first; see `equalize`. This replaces ReLU6 by
            ReLU.
        correct_bias: Whether to subtract the mean error of rounded weights from the biases; see
            `correct_bias`.
        keep_float: Names of layers to leave in float; `*` and `?` are wildcards, as in file names.
        mixed: Fraction of examples, above 0 and at most 1, whose top class must match that of the
            float model; as few layers as possible are left in float. See `fewest_in_float`.
        labels: As in `to_tflite`.
        preprocessing: As in `to_tflite`.
        rgb: As in `to_tflite`.

    Returns:
        An `ExportResult`; it can be used as a path.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If the model is already quantized, or an argument is invalid.

    Example:
        >>> import numpy as np, tempfile
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3),
        ...     keras.layers.ReLU(), keras.layers.GlobalAveragePooling2D()])
        >>> images = np.random.default_rng(0).normal(size=(100, 8, 8, 3)).astype("float32")
        >>> path = tempfile.mkdtemp() + "/model.tflite"
        >>> after_training(model, path, images, calibrator="percentile",
        ...                preprocessing=Normalization(127.5, 25)).quantization
        'int8'
    """
    _check(model, calibrator, mixed)
    options: dict[str, Any] = {
        "labels": labels, "preprocessing": preprocessing, "rgb": rgb,
    }  # fmt: skip
    if equalize:
        model = equalization.equalize(model)
    if correct_bias:
        model = corrected(model, data)
    if mixed is not None:
        found = fewest_in_float(model, data, mixed, calibrator=calibrator, percentile=percentile)
        keep_float = (*keep_float, *found.layers)
    return write_calibrated(
        model, path, data,
        calibrator=calibrator, percentile=percentile, keep_float=keep_float, **options,
    )  # fmt: skip


def _check(model: Any, calibrator: str, mixed: float | None) -> None:
    if not isinstance(model, keras.Model):
        raise TypeError(f"model must be a keras.Model. Received: {type(model).__name__}")
    if is_quantized(model):
        raise ValueError(
            f"model {model.name!r} is already quantized. Export it with to_tflite(model, path), or "
            "start from the float model."
        )
    check_one_of("calibrator", calibrator, tuple(METHODS))
    if mixed is not None:
        check_number("mixed", mixed, above=0, most=1)
