"""Masks of the embedded scenes: what the default recipe reaches in a limited time.

`kd.data.load("fashion_scenes")` and the network of `keras-dlcourse train --task segment`, trained
for fewer epochs than by default.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
from _figures import Figure

import keras_dlcourse as kd
from keras_dlcourse.cli.train import ALPHA

EPOCHS = int(os.environ.get("KD_EPOCHS", "13"))


class ProcessorTime(keras.callbacks.Callback):
    """Measures the processor time of training, with validation."""

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.began = time.process_time()

    def on_train_end(self, logs: dict | None = None) -> None:
        self.seconds = time.process_time() - self.began


def measure() -> list[Figure]:
    data, clock = kd.data.load("fashion_scenes"), ProcessorTime()
    recipe = kd.training.Recipe(task="segment", alpha=ALPHA, epochs=EPOCHS)
    with tempfile.TemporaryDirectory() as folder:
        run = kd.training.run(data, Path(folder) / "run", recipe, callbacks=[clock])
    test, floor = run.results["test"], run.results["floor"]
    counts = np.array(run.results["confusion_matrix"])
    _, *files = run.results["files"]
    losses = {file["quantization"]: file["iou_loss"] for file in files}
    forest = floor["color and position of each pixel"]
    return [
        Figure("processor time of training", clock.seconds, "s", 700, detail=f"{EPOCHS} epochs"),
        Figure("mean IoU of 11 classes", test["mean_iou"], "", 0.45, False,
               f"{test['mean_iou_low']:.3f} to {test['mean_iou_high']:.3f}; a random forest on "
               f"color and position {forest:.3f}"),
        Figure("IoU of garments of any class",
               counts[1:, 1:].sum() / (counts.sum() - counts[0, 0]), "", 0.87, False,
               f"{test['pixel_accuracy']:.1%} of all pixels"),
        Figure("int8 loses of mean IoU", losses["int8"], "", 0.005,
               detail=f"repaired: {bool(run.results['repair'])}"),
    ]  # fmt: skip
