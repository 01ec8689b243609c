"""Prune 75 %, cluster, int8: what an archive of the file saves, and what that costs in accuracy.

MobileNetV2 0.35 on the 10,000 training images of `fashion_mnist_small`; accuracy on the 10,000
test images of Fashion-MNIST where they are installed, else on the small part's 2,000.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import keras
import numpy as np
from _figures import Figure

import keras_dlcourse as kd

SPARSITY, CLUSTERS = 0.75, 16
FLOAT_EPOCHS, PRUNE_EPOCHS, CLUSTER_EPOCHS, QUANTIZE_EPOCHS = 12, 6, 2, 2


def measure() -> list[Figure]:
    keras.utils.set_random_seed(0)
    data = kd.data.load("fashion_mnist_small")
    images, labels = _test_images(data)
    steps = -(-data.train.examples // 32)
    model = kd.models.MobileNetV2(
        input_shape=data.image_shape, alpha=0.35, classes=data.class_names,
        preprocessing=data.normalization,
    )  # fmt: skip
    _fit(model, data, FLOAT_EPOCHS, 2e-3)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "float32.tflite"
        small = Path(folder) / "small.int8.tflite"
        kd.export.to_tflite(model, plain, rgb=False)
        before = _accuracy(plain, images, labels)
        schedule = kd.compress.PolynomialDecay(end_step=steps * PRUNE_EPOCHS * 2 // 3)
        model = kd.compress.prune(model, SPARSITY, schedule)
        _fit(model, data, PRUNE_EPOCHS, 1e-3)
        model = kd.compress.cluster(model, CLUSTERS)
        _fit(model, data, CLUSTER_EPOCHS, 3e-4)
        model = kd.quantize.quantization_aware(model)
        _fit(model, data, QUANTIZE_EPOCHS, 3e-4)
        kd.export.to_tflite(model, small, rgb=False)
        after = _accuracy(small, images, labels)
        sizes = kd.compress.sizes(plain, small)
        print(kd.compress.sparsity(model).total, sizes, sep="\n", flush=True)
    first, last = sizes.files
    return [
        Figure(
            "zip -9 of float32 / zip -9 of pruned 75 %, clustered, int8; MobileNetV2 0.35",
            first.zip / last.zip, "x", 8, False,
            f"{first.zip:,} against {last.zip:,} bytes; raw {first.raw:,} and {last.raw:,}",
        ),
        Figure(
            "accuracy lost by it, Fashion-MNIST", 100 * (before - after), "points", 1.5,
            detail=f"{100 * after:.2f} after {100 * before:.2f} %, {len(images):,} test images, "
            f"{FLOAT_EPOCHS} epochs and {PRUNE_EPOCHS + CLUSTER_EPOCHS + QUANTIZE_EPOCHS} more",
        ),
    ]  # fmt: skip


def _fit(model: keras.Model, data: kd.data.Dataset, epochs: int, rate: float) -> None:
    steps = -(-data.train.examples // 32)
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps * epochs)
    model.compile(
        keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    model.fit(data.train, validation_data=data.validation, epochs=epochs, verbose=2)


def _test_images(data: kd.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return test images, as a camera gives them, and their classes."""
    try:
        part = kd.data.load("fashion_mnist").test
    except FileNotFoundError:
        part = data.test
    return part.x, part.y


def _accuracy(path: Path, images: np.ndarray, labels: np.ndarray) -> float:
    classifier = kd.edge.ImageClassifier(path)
    found = [int(np.argmax(classifier.scores(image[None])[0])) for image in images]
    return float(np.mean(np.array(found) == labels))
