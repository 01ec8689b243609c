"""What `SignalMonitor` adds to an epoch, at its defaults, in the quickstart's training."""

from __future__ import annotations

import time

import keras
from _figures import Figure

import keras_dlcourse as kd
from keras_dlcourse.training.quickstart import BATCH_SIZE, RECIPE
from keras_dlcourse.training.run import build_model

EPOCHS = 4


def measure() -> list[Figure]:
    data = kd.data.load("fashion_mnist_small", batch_size=BATCH_SIZE)
    model = build_model(data, RECIPE)
    model.compile("adam", "sparse_categorical_crossentropy")
    clock = _Clock(kd.callbacks.SignalMonitor(data.validation))
    model.fit(data.train, epochs=EPOCHS, verbose=0, callbacks=[clock])
    measuring, whole = min(clock.measuring[1:]), min(clock.epochs[1:])
    return [
        Figure(
            "SignalMonitor: share of an epoch", 100 * measuring / whole, "%", 10.0,
            detail=f"{1000 * measuring:.0f} ms of {whole:.1f} s",
        ),
        Figure(
            "SignalMonitor: compiling, once", clock.measuring[0] - measuring, "s", float("inf")
        ),
    ]  # fmt: skip


class _Clock(keras.callbacks.Callback):
    """Times whole epochs, and what the monitor does in each."""

    def __init__(self, inner: keras.callbacks.Callback) -> None:
        super().__init__()
        self.inner, self.epochs, self.measuring = inner, [], []

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self.inner.set_model(model)

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.inner.on_train_begin(logs)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.began = time.perf_counter()
        self.inner.on_epoch_begin(epoch, logs)
        self.measuring.append(time.perf_counter() - self.began)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        started = time.perf_counter()
        self.inner.on_train_batch_end(batch, logs)
        self.measuring[-1] += time.perf_counter() - started

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.epochs.append(time.perf_counter() - self.began)
