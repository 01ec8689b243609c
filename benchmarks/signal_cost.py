"""What `SignalMonitor` adds to an epoch, at its defaults, in the quickstart's training.

And what a look at all weights adds to a training step; `TerminateOnNaN` looks every 20 steps.
"""

from __future__ import annotations

import timeit

from _clock import Clock
from _figures import Figure

import keras_dlcourse as kd
from keras_dlcourse.callbacks._weights import find_first_broken
from keras_dlcourse.training.run.quickstart import BATCH_SIZE, RECIPE
from keras_dlcourse.training.run.run import build_model

EPOCHS = 4


def measure() -> list[Figure]:
    data = kd.data.load("fashion_mnist_small", batch_size=BATCH_SIZE)
    model = build_model(data, RECIPE)
    model.compile("adam", "sparse_categorical_crossentropy")
    clock = Clock(kd.callbacks.SignalMonitor(data.validation))
    model.fit(data.train, epochs=EPOCHS, verbose=0, callbacks=[clock])
    measuring, whole = min(clock.inside[1:]), min(clock.epochs[1:])
    find_first_broken(model)  # compile
    look = min(timeit.repeat(lambda: find_first_broken(model), number=1, repeat=50))
    step = (whole - measuring) / len(data.train)
    return [
        Figure(
            "SignalMonitor: share of an epoch", 100 * measuring / whole, "%", 10.0,
            detail=f"{1000 * measuring:.0f} ms of {whole:.1f} s",
        ),
        Figure(
            "SignalMonitor: compiling, once", clock.inside[0] - measuring, "s", float("inf")
        ),
        Figure(
            "A look at all weights, at each step: share of it", 100 * look / step, "%", 10.0,
            detail=f"{1000 * look:.2f} of {1000 * step:.1f} ms, {model.count_params():,} weights",
        ),
    ]  # fmt: skip
