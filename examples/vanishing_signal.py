"""Thirty layers that cannot learn because the signal vanishes, and thirty that can.

python examples/vanishing_signal.py [--images 2000] [--epochs 3] [--output signals]

With weights from N(0, 0.01) and sigmoids, the gradient shrinks at each layer until nothing is left
of it at the first layers. The variances of Glorot and He were derived to preserve it, for units
that are linear around 0 and for ReLU, respectively. `kd.callbacks.SignalMonitor` shows both in
numbers, in a plot and in words.
"""

from __future__ import annotations

import argparse
import math
import warnings
from pathlib import Path

import keras
import numpy as np

import keras_dlcourse as kd

DEPTH, WIDTH = 30, 64
NETWORKS = {
    "sigmoid, N(0, 0.01)": ("sigmoid", keras.initializers.RandomNormal(0, 0.1, seed=1)),
    "tanh, Glorot": ("tanh", "glorot_normal"),
    "ReLU, N(0, 0.01)": ("relu", keras.initializers.RandomNormal(0, 0.1, seed=1)),
    "ReLU, He": ("relu", "he_normal"),
}


def main(images: int, epochs: int, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    data = kd.data.load("fashion_mnist_small")
    x = (np.asarray(data.train.x[:images], "float32") - 73) / 90  # mean 0, variance 1
    y = np.asarray(data.train.y[:images])
    for name, (activation, initializer) in NETWORKS.items():
        keras.utils.set_random_seed(0)
        model = kd.models.MLP(
            x.shape[1:], (WIDTH,) * DEPTH, task="multiclass", outputs=10,
            activation=activation, kernel_initializer=initializer,
        )  # fmt: skip
        rate = keras.optimizers.Adam(3e-4, clipnorm=1.0)
        model.compile(rate, kd.losses.for_task("multiclass"), metrics=["accuracy"])
        folder = output / "".join(c if c.isalnum() else "_" for c in name)
        monitor = kd.callbacks.SignalMonitor((x, y), folder=folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its warnings are printed below
            history = model.fit(x, y, epochs=epochs, verbose=0, callbacks=[monitor]).history
        say(name, monitor, history["accuracy"][-1])
        print(f"  picture: {folder / 'signals.png'}")


def say(name: str, monitor: kd.callbacks.SignalMonitor, accuracy: float) -> None:
    """Print how much of each signal was left before the first step, and the final accuracy."""
    forwards, backwards = monitor.activations[0], monitor.gradients[0]
    print(
        f"{name}: activations 1e{fall(forwards[DEPTH - 1], forwards[0])}, "
        f"gradients 1e{fall(backwards[0], backwards[DEPTH - 1])}, accuracy {accuracy:.2f}"
    )
    for sentence in monitor.said.values():
        print(f"  {sentence}")


def fall(end: float | None, start: float | None) -> int:
    """Return the power of ten by which a variance changes."""
    return round(math.log10(end / start)) if end and start else -99


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("signals"))
    arguments = parser.parse_args()
    main(arguments.images, arguments.epochs, arguments.output)
