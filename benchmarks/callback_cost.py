"""What `ClassActivationMaps` adds to an epoch, at its defaults, in the quickstart's training."""

from __future__ import annotations

import math
import tempfile
import time

import keras
from _figures import Figure

import keras_dlcourse as kd
from keras_dlcourse.training.quickstart import BATCH_SIZE, RECIPE
from keras_dlcourse.training.run import build_model

EPOCHS = 3
METHODS = {"cam": 5.0, "grad_cam": 5.0, "layer_cam": math.inf, "saliency": math.inf}


def measure() -> list[Figure]:
    data = kd.data.load("fashion_mnist_small", batch_size=BATCH_SIZE)
    figures = []
    for method, limit in METHODS.items():
        model = build_model(data, RECIPE)
        model.compile("adam", "sparse_categorical_crossentropy")
        with tempfile.TemporaryDirectory() as folder:
            maps = kd.callbacks.ClassActivationMaps(data.validation, folder, method=method)
            clock = _Clock(maps)
            model.fit(data.train, epochs=EPOCHS, verbose=0, callbacks=[clock])
        share = 100 * min(clock.drawing[1:]) / min(clock.training[1:])
        detail = f"{1000 * min(clock.drawing[1:]):.0f} ms of {min(clock.training[1:]):.1f} s"
        figures.append(Figure(f"{method}: share of an epoch", share, "%", limit, detail=detail))
    return figures


class _Clock(keras.callbacks.Callback):
    """Times the epochs and what another callback does behind each."""

    def __init__(self, inner: keras.callbacks.Callback) -> None:
        super().__init__()
        self.inner, self.training, self.drawing = inner, [], []

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self.inner.set_model(model)

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.inner.on_train_begin(logs)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        trained = time.perf_counter()
        self.inner.on_epoch_end(epoch, logs)
        self.training.append(trained - self.began)
        self.drawing.append(time.perf_counter() - trained)
