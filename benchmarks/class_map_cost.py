"""What the class maps cost a file: MobileNetV2 1.0 at 224, beside the same file without them.

The limits are for 20 classes; with 1,000 the map is a convolution of its own weight, and the cost
is printed only (KD_CLASSES chooses other numbers of classes). One thread, ai-edge-litert.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import keras
import numpy as np
from _figures import Figure, in_turn

import keras_dlcourse as kd
from keras_dlcourse.edge.runtime.interpreter import interpreter
from keras_dlcourse.edge.tflite.model_file import ModelFile

LATENCY, SIZE = 1.05, 1.02
ROUNDS, CALLS = 60, 3


def measure() -> list[Figure]:
    numbers = [int(number) for number in os.environ.get("KD_CLASSES", "20,1000").split(",")]
    return [figure for classes in numbers for figure in _of_classes(classes)]


def _of_classes(classes: int) -> list[Figure]:
    keras.utils.set_random_seed(0)
    model = kd.models.MobileNetV2(input_shape=(224, 224, 3), classes=classes)
    pixels = np.random.default_rng(0).integers(0, 256, (100, 224, 224, 3)).astype("uint8")
    data = kd.data.pipeline(
        pixels, np.zeros(100, int), normalization=kd.data.Normalization(127.5, 127.5)
    )
    figures = []
    for quantization in ("float32", "int8"):
        with tempfile.TemporaryDirectory() as folder:
            mapped, plain = (
                ModelFile.read(
                    kd.export.to_tflite(
                        model, Path(folder) / "model.tflite", quantization=quantization,
                        calibration=data, class_map=class_map,
                    ).path
                )
                for class_map in (True, False)
            )  # fmt: skip
        figures += _compare(f"{quantization}, {classes:,} classes", mapped, plain, classes > 20)
    return figures


def _compare(what: str, mapped: ModelFile, plain: ModelFile, printed_only: bool) -> list[Figure]:
    runs = [interpreter(file.content, threads=1).invoke for file in (mapped, plain)]
    for run in runs:
        run()
    times = in_turn(*runs, rounds=ROUNDS, calls=CALLS)
    sizes = len(mapped.content), len(plain.content)
    return [
        Figure(
            f"latency with class map / without, {what}",
            times[0] / times[1],
            "x",
            float("inf") if printed_only else LATENCY,
            detail=f"{times[0] * 1000:.2f} against {times[1] * 1000:.2f} ms",
        ),
        Figure(
            f"size with class map / without, {what}",
            sizes[0] / sizes[1],
            "x",
            float("inf") if printed_only else SIZE,
            detail=f"{sizes[0]:,} against {sizes[1]:,} bytes",
        ),
    ]
