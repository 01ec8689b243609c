"""What a callback adds to an epoch."""

from __future__ import annotations

import time
from collections.abc import Callable

import keras


class Clock(keras.callbacks.Callback):
    """Drives another callback, and times it.

    Attributes:
        epochs: Seconds of each epoch, the callback's own among them.
        inside: Seconds of the callback's own in each epoch.
    """

    def __init__(self, inner: keras.callbacks.Callback) -> None:
        super().__init__()
        self.inner, self.epochs, self.inside = inner, [], []

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self.inner.set_model(model)

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.inner.on_train_begin(logs)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.began = time.perf_counter()
        self.inside.append(0.0)
        self._time(self.inner.on_epoch_begin, epoch, logs)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._time(self.inner.on_train_batch_end, batch, logs)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._time(self.inner.on_epoch_end, epoch, logs)
        self.epochs.append(time.perf_counter() - self.began)

    def _time(self, hook: Callable[..., None], number: int, logs: dict | None) -> None:
        started = time.perf_counter()
        hook(number, logs)
        self.inside[-1] += time.perf_counter() - started
