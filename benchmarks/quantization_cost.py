"""Quantization-aware training beside tensorflow-model-optimization: same network, weights, steps.

MobileNetV2 0.35 at 96. The peer needs Keras 2, so it runs in the environment whose interpreter
`KD_TFMOT_PYTHON` names (`pip install tensorflow tf_keras tensorflow-model-optimization`); without
it, only our own figures are measured.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from _figures import Figure, ratio

import keras_dlcourse as kd

ROUNDS, TRAIN, TEST, SIZE = 5, 960, 500, 96


def measure() -> list[Figure]:
    keras.utils.set_random_seed(0)
    data = kd.data.load("fashion_mnist_small")

    def images(pixels: np.ndarray) -> np.ndarray:
        large = keras.ops.image.resize(pixels.astype("float32"), (SIZE, SIZE))
        return np.repeat(keras.ops.convert_to_numpy(large) / 127.5 - 1, 3, axis=-1)

    x, y = images(data.train.x[:TRAIN]), np.asarray(data.train.y[:TRAIN])
    x_test, y_test = images(data.test.x[:TEST]), np.asarray(data.test.y[:TEST])
    model = keras.applications.MobileNetV2(
        (SIZE, SIZE, 3), alpha=0.35, weights=None, classes=10, classifier_activation=None
    )
    _train(model, x, y)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "data.npz", x=x, y=y, x_test=x_test, y_test=y_test)
        np.savez(folder / "weights.npz", *model.get_weights())
        ours = _ours(model, x, y, x_test, y_test, folder)
        peer = _peer(folder)
    return _figures(ours, peer)


def _train(model: keras.Model, x: np.ndarray, y: np.ndarray) -> None:
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
    model.fit(x, y, epochs=10, verbose=0)


def _ours(model: Any, x: Any, y: Any, x_test: Any, y_test: Any, folder: Path) -> dict[str, float]:
    quantization_aware = kd.quantize.quantization_aware  # imported now, as the peer's is
    started = time.perf_counter()
    aware = quantization_aware(model)
    prepare = time.perf_counter() - started
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for network in (model, aware):
        network.compile(keras.optimizers.Adam(1e-4), loss, metrics=["accuracy"])
        network.fit(x[:64], y[:64], verbose=0)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for network, seconds in zip((model, aware), times, strict=True):
            started = time.perf_counter()
            network.fit(x, y, shuffle=False, verbose=0)
            seconds.append(time.perf_counter() - started)
    started = time.perf_counter()
    result = kd.export.to_tflite(aware, folder / "ours.tflite", input_dtype="float32")
    convert = time.perf_counter() - started
    check = kd.export.verify(aware, result, (x_test, y_test))
    return {
        "prepare": prepare,
        "ratio": statistics.median(times[1]) / statistics.median(times[0]),
        "epoch": statistics.median(times[1]),
        "convert": convert,
        "bytes": result.bytes,
        "accuracy": float(check.accuracy or 0),
    }


def _peer(folder: Path) -> dict[str, float] | None:
    python = os.environ.get("KD_TFMOT_PYTHON")
    if not python:
        print("KD_TFMOT_PYTHON is not set: the peer is not measured", file=sys.stderr)
        return None
    script = Path(__file__).parent / "peers" / "tfmot_quantization.py"
    arguments = [str(folder / "data.npz"), str(folder / "weights.npz"), str(ROUNDS)]
    done = subprocess.run(
        [python, str(script), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _figures(ours: dict[str, float], peer: dict[str, float] | None) -> list[Figure]:
    network = "MobileNetV2 0.35 at 96"
    detail = f"{ours['epoch']:.2f} s for {TRAIN} images"
    if peer:
        detail += f"; tensorflow-model-optimization: {peer['ratio']:.2f}x, {peer['epoch']:.2f} s"
    figures = [
        Figure(
            f"quantization-aware epoch / float epoch, {network}",
            ours["ratio"], "x", 1.25, detail=detail,
        )
    ]  # fmt: skip
    if not peer:
        return figures
    accuracies = f"{ours['accuracy']:.1%} against {peer['accuracy']:.1%}"
    return [
        *figures,
        ratio("preparing / tensorflow-model-optimization", ours["prepare"], peer["prepare"], 0.25),
        ratio("converting / tensorflow-model-optimization", ours["convert"], peer["convert"], 0.25),
        Figure(
            "int8 file / that of tensorflow-model-optimization",
            ours["bytes"] / peer["bytes"], "x", 1.0,
            detail=f"{ours['bytes']:,} against {peer['bytes']:,} bytes",
        ),
        Figure(
            "accuracy on the device less that of tensorflow-model-optimization",
            100 * (ours["accuracy"] - peer["accuracy"]), "points", 0.0, at_most=False,
            detail=f"{accuracies}, {TEST} test images",
        ),
    ]  # fmt: skip
