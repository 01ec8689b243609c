"""Quantization after training: calibrate, repair where needed, and write an integer file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import keras

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
    """Write a trained model as an int8 `.tflite` file, its ranges measured on data.

    With everything at its default this is `to_tflite(model, path, quantization="int8",
    calibration=data)`: TensorFlow's converter measures the smallest and largest numbers, and does
    it as well as anyone. What it does not have goes through a quantization-aware copy of the model,
    whose ranges are measured by `calibrate`: other calibrators, and layers left in float. The same
    converter, kernels and metadata come out either way. (ai-edge-quantizer gives the same accuracy
    with min-max ranges; its files say version 1 of every operator, so that nothing can be told of
    the runtimes that know them, and its calibrator is told the ends of a tensor's range only, from
    which no percentile can be had.)

    Args:
        model: A trained float model; left as it was.
        path: The file to write.
        data: What `fit` takes, normalised as in training: at least 100 examples.
        calibrator: `"min_max"`; `"moving_average"` or `"percentile"` give up rare numbers for a
            finer step: see `calibrate`.
        percentile: For `"percentile"`, the share of numbers on each side that a range holds.
        equalize: Even out the channels first: see `equalize`. It replaces ReLU6 by ReLU.
        correct_bias: Take the mean error of rounded weights out of the biases: see `correct_bias`.
        keep_float: Names of layers to leave in float; `*` and `?` as in file names.
        mixed: Leave as few layers in float as are needed for this share of examples, from 0 to 1,
            to have the same top class as the float model: see `fewest_in_float`.
        labels: As in `to_tflite`.
        preprocessing: As in `to_tflite`.
        rgb: As in `to_tflite`.

    Returns:
        An `ExportResult`; it can be used as a path.

    Raises:
        TypeError: If `model` is no Keras model.
        ValueError: If it is quantized already, or an argument does not fit.

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
            f"model {model.name!r} is quantized already: export it by to_tflite(model, path), or "
            "start from the float model"
        )
    if calibrator not in METHODS:
        raise ValueError(
            f"calibrator must be one of {', '.join(METHODS)}. Received: {calibrator!r}"
        )
    if mixed is not None and not 0 < mixed <= 1:
        raise ValueError(
            f"mixed must be a share of equal answers, above 0 and at most 1. Received: {mixed!r}"
        )
