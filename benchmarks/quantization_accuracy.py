"""Accuracy in float, int8 after training and int8 trained quantization-aware, on the device.

Fashion-MNIST, three seeds (`KD_SEEDS=0` for one). The 10,000 original test images where the full
data set is at hand (`KERAS_HOME`, see `kd.data.load`), else the 2,000 that are shipped. Training
images are the 10,000 shipped ones. What the published tables show is the drop; see the papers'
figures in docs/quantization.md.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
from _figures import Figure

import keras_dlcourse as kd

FLOAT_EPOCHS, AWARE_EPOCHS = 8, 2


def measure() -> list[Figure]:
    seeds = [int(seed) for seed in os.environ.get("KD_SEEDS", "0,1,2").split(",")]
    data = kd.data.load("fashion_mnist_small")
    test = _test_images(data)
    rows = [_mobilenet_v2(seed, data, test) for seed in seeds]
    floats, after, aware = (np.mean([row[part] for row in rows]) for part in range(3))
    spread = ", ".join("/".join(f"{value:.2%}" for value in row) for row in rows)
    detail = f"float/after training/aware by seed: {spread}; {len(test[0]):,} images"
    figures = [
        Figure(
            "MobileNetV2 0.35: int8 trained quantization-aware less float",
            100 * (aware - floats), "points", -0.3, at_most=False, detail=detail,
        ),
        Figure(
            "MobileNetV2 0.35: int8 after training less float",
            100 * (after - floats), "points", -1.0, at_most=False, detail=detail,
        ),
    ]  # fmt: skip
    for name in ("MobileNetV3Small", "EfficientNetB0"):
        rows = [_application(name, seed, data, test) for seed in seeds]
        floats, after = (np.mean([row[part] for row in rows]) for part in range(2))
        spread = ", ".join("/".join(f"{value:.2%}" for value in row) for row in rows)
        figures.append(
            Figure(
                f"{name} at 48: int8 after training less float",
                100 * (after - floats), "points", -1.0, at_most=False,
                detail=f"float/after training by seed: {spread}",
            )
        )  # fmt: skip
    return figures


def _test_images(data: Any) -> tuple[np.ndarray, np.ndarray]:
    if os.environ.get("KERAS_HOME"):
        data = kd.data.load("fashion_mnist")
    return np.asarray(data.test.x), np.asarray(data.test.y)


def _mobilenet_v2(seed: int, data: Any, test: tuple[np.ndarray, np.ndarray]) -> list[float]:
    keras.utils.set_random_seed(seed)
    model = kd.models.MobileNetV2(
        input_shape=data.image_shape, alpha=0.35, classes=10, preprocessing=data.normalization
    )
    _fit(model, data.train, 1e-3, FLOAT_EPOCHS)
    float_accuracy = _keras_accuracy(model, data.normalization(test[0]), test[1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        kd.export.to_tflite(model, path, quantization="int8", calibration=data.train)
        after = _device_accuracy(path, *test)
        aware = kd.quantize.quantization_aware(model)
        _fit(aware, data.train, 1e-4, AWARE_EPOCHS)
        kd.export.to_tflite(aware, path)
        return [float_accuracy, after, _device_accuracy(path, *test)]


def _application(
    name: str, seed: int, data: Any, test: tuple[np.ndarray, np.ndarray]
) -> list[float]:
    """Quantize a network of keras.applications after training: ranges measured, nothing trained."""
    keras.utils.set_random_seed(seed)
    normalization = kd.data.Normalization(127.5, 127.5)
    train = kd.data.pipeline(
        _large(data.train.x), np.asarray(data.train.y), shuffle=True, normalization=normalization
    )
    model = getattr(keras.applications, name)(
        input_shape=(48, 48, 3), weights=None, classes=10,
        **({"include_preprocessing": False} if name == "MobileNetV3Small" else {}),
    )  # fmt: skip
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9
    _fit(model, train, 1e-3, FLOAT_EPOCHS)
    images = _large(test[0][:2000])
    floats = _keras_accuracy(model, normalization(images), test[1][:2000])
    ranges = kd.quantize.calibrate(kd.quantize.quantization_aware(model), train)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        kd.export.to_tflite(ranges, path, preprocessing=normalization)
        return [floats, _device_accuracy(path, images, test[1][:2000])]


def _large(pixels: np.ndarray) -> np.ndarray:
    large = keras.ops.image.resize(np.asarray(pixels, "float32"), (48, 48))
    whole = np.round(keras.ops.convert_to_numpy(large)).astype("uint8")
    return np.repeat(whole, 3, axis=-1)


def _fit(model: keras.Model, data: Any, rate: float, epochs: int) -> None:
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    model.fit(data, epochs=epochs, verbose=0)


def _keras_accuracy(model: keras.Model, x: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean(model.predict(x, batch_size=100, verbose=0).argmax(1) == y))


def _device_accuracy(path: Path, pixels: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(kd.edge.ImageClassifier(path).scores(pixels).argmax(1) == labels))
