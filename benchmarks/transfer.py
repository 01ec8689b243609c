"""An epoch of a new head: on cached features of the frozen base, beside running the base again."""

from __future__ import annotations

import tempfile
import time

import keras
import numpy as np
from _figures import Figure

import keras_dlcourse as kd

EXAMPLES, SIZE, EPOCHS, RATIO = 512, 96, 5, 5.0
TOLERANCE = 1e-4


class Epochs(keras.callbacks.Callback):
    """Takes the seconds of each epoch."""

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.seconds.append(time.perf_counter() - self.began)


def measure() -> list[Figure]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (EXAMPLES, SIZE, SIZE, 3)) * rng.random((EXAMPLES, 1, 1, 1))
    images = images.astype("uint8")
    labels = np.arange(EXAMPLES) % 4
    pixels = kd.data.Normalization(127.5, 127.5)
    base = kd.models.MobileNetV2(
        (SIZE, SIZE, 3), 0.35, include_top=False, bn_momentum=0.5, preprocessing=pixels
    )
    for _ in range(5):  # statistics of these images: else all features would be nearly 0
        base(pixels(images[:32]), training=True)
    kernels, seconds = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, cache in (("base", None), ("cache", folder)):
            kernels[name], seconds[name] = _head(base, images, labels, cache)
    again, cached = (min(seconds[name][1:]) for name in ("base", "cache"))
    difference = max(
        float(np.abs(one - other).max())
        for one, other in zip(kernels["base"], kernels["cache"], strict=True)
    )
    return [
        Figure(
            "an epoch of the head that runs the base / on cached features",
            again / cached, "x", RATIO, at_most=False,
            detail=f"{1000 * again:.0f} against {1000 * cached:.1f} ms",
        ),
        Figure("largest difference of a weight of the head", difference, "", TOLERANCE),
    ]  # fmt: skip


def _head(
    base: keras.Model, images: np.ndarray, labels: np.ndarray, cache: str | None
) -> tuple[list[np.ndarray], list[float]]:
    """Train a head; return its weights, and the seconds of each epoch."""
    clock = Epochs()
    found = kd.training.transfer(
        base,
        4,
        kd.data.pipeline(images, labels, shuffle=True),
        epochs=(EPOCHS, 0),
        cache=cache,
        callbacks=[clock],
        verbose=0,
    )
    return found.model.get_layer("predictions").get_weights(), clock.seconds
