"""Half of each expansion's filters removed: what it saves in time, MobileNetV2 1.0 at 224."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from _figures import Figure, in_turn, ratio
from ai_edge_litert.interpreter import Interpreter

import keras_dlcourse as kd

ROUNDS, CALLS = 25, 10


def measure() -> list[Figure]:
    keras.utils.set_random_seed(0)
    model = kd.models.MobileNetV2(input_shape=(224, 224, 3))
    narrow = kd.compress.prune_filters(model, 0.5, layers=["*_expand"])
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / "wide.tflite", Path(folder) / "narrow.tflite"]
        for path, network in zip(files, (model, narrow), strict=True):
            kd.export.to_tflite(network, path, preprocessing=kd.data.Normalization(127.5, 127.5))
        wide_bytes, narrow_bytes = (path.stat().st_size for path in files)
        wide_run, narrow_run = map(_run, files)
    figure = ratio(
        "latency with half of each expansion's filters / all, float32, one thread",
        *in_turn(narrow_run, wide_run, rounds=ROUNDS, calls=CALLS),
        0.65,
    )
    load = f"{os.getloadavg()[0]:.1f}"
    detail = f"{figure.detail}; {narrow_bytes:,} against {wide_bytes:,} bytes; load {load}"
    return [Figure(figure.what, figure.value, "x", figure.limit, detail=detail)]


def _run(path: Path) -> Callable[[], None]:
    """Return a function that runs a file once, on one image."""
    interpreter = Interpreter(model_content=path.read_bytes(), num_threads=1)
    interpreter.allocate_tensors()
    image = np.random.default_rng(0).normal(size=(1, 224, 224, 3)).astype("float32")
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return interpreter.invoke
