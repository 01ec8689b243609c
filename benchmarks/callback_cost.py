"""What `ClassActivationMaps` adds to an epoch, at its defaults, in the quickstart's training."""

from __future__ import annotations

import math
import tempfile

from _clock import Clock
from _figures import Figure

import keras_dlcourse as kd
from keras_dlcourse.training.run.quickstart import BATCH_SIZE, RECIPE
from keras_dlcourse.training.run.run import build_model

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
            clock = Clock(maps)
            model.fit(data.train, epochs=EPOCHS, verbose=0, callbacks=[clock])
        drawing = min(clock.inside[1:])
        training = min(a - b for a, b in zip(clock.epochs[1:], clock.inside[1:], strict=True))
        share = 100 * drawing / training
        detail = f"{1000 * drawing:.0f} ms of {training:.1f} s"
        figures.append(Figure(f"{method}: share of an epoch", share, "%", limit, detail=detail))
    return figures
