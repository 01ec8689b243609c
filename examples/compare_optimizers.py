"""Compare seven optimizers: batch, stochastic, mini-batch, momentum, Nesterov, adaptive.

python examples/compare_optimizers.py [--images 1000] [--epochs 15] [--output optimizers]

All start from the same weights and see the same number of images; each uses the best of a few
learning rates. It also measures how far the gradient of a batch is from the gradient of all images,
and the effective learning rate of each layer: the norm of its step over the norm of its gradient.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure

import keras_dlcourse as kd
from keras_dlcourse.report.canvas import BLUE, GREEN, GREY, PURPLE, VERMILION, style_axes

PLAIN, ADAPTIVE = (0.01, 0.03, 0.1, 0.3, 1.0), (3e-4, 1e-3, 3e-3)
BATCH = 32


@dataclass
class Way:
    """An optimizer to compare.

    Attributes:
        optimizer: Function from a learning rate to the optimizer.
        rates: Learning rates to try.
        batch: Images per step; None for all of them.
        look: Color and line style of its curve.
        losses: Loss on all images at the best rate, at the start and after each epoch.
        rate: The best learning rate.
        effective: Effective rate of each layer with weights, at the end.
    """

    optimizer: Callable[[float], keras.optimizers.Optimizer]
    rates: tuple[float, ...]
    batch: int | None
    look: tuple[str, str]
    losses: list[float] = field(default_factory=list)
    rate: float = 0.0
    effective: dict[str, float] = field(default_factory=dict)


def ways() -> dict[str, Way]:
    optimizers = keras.optimizers
    return {
        "batch": Way(optimizers.SGD, PLAIN, None, (GREY, "-")),
        "stochastic": Way(optimizers.SGD, PLAIN[:3], 1, (GREY, ":")),
        "mini-batch": Way(optimizers.SGD, PLAIN, BATCH, (BLUE, "-")),
        "momentum": Way(
            lambda rate: optimizers.SGD(rate, momentum=0.9), PLAIN[:4], BATCH, (VERMILION, "-")
        ),
        "Nesterov": Way(
            lambda rate: optimizers.SGD(rate, momentum=0.9, nesterov=True),
            PLAIN[:4], BATCH, (VERMILION, ":"),
        ),
        "RMSprop": Way(optimizers.RMSprop, ADAPTIVE, BATCH, (GREEN, "-")),
        "Adam": Way(optimizers.Adam, ADAPTIVE, BATCH, (PURPLE, "-")),
    }  # fmt: skip


def main(images: int, epochs: int, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    part = kd.data.load("fashion_mnist_small").train
    x, y = part.prepare(part.x[:images]), np.asarray(part.y[:images])
    compared = ways()
    for name, way in compared.items():
        train(way, x, y, epochs)
        steps = -(-images // (way.batch or images))
        layers = ", ".join(f"{layer} {rate:.2g}" for layer, rate in way.effective.items())
        print(
            f"{name:10}: {steps:4} steps an epoch, rate {way.rate:g}, "
            f"loss {way.losses[-1]:.3f}; effective rate: {layers}"
        )
    for size, share in noise(x, y).items():
        print(f"gradient of {size:4} images: variance {share:.3g} of the squared gradient of all")
    path = output / "optimizers.png"
    path.write_bytes(kd.report.png_bytes(draw(compared, images)))
    print(f"picture: {path}")


def network(
    shape: tuple[int, ...], optimizer: keras.optimizers.Optimizer, steps: int = 1
) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = kd.models.MLP(shape, (32, 32), task="multiclass", outputs=10, activation="tanh")
    model.compile(optimizer, kd.losses.for_task("multiclass"), steps_per_execution=steps)
    return model


def train(way: Way, x: np.ndarray, y: np.ndarray, epochs: int) -> None:
    """Train with each rate and store the results of the best one."""
    for rate in way.rates:
        batch = way.batch or len(x)
        # Many batches per call of the compiled step; one at a time would take minutes.
        model = network(x.shape[1:], way.optimizer(rate), max(1, min(50, len(x) // batch)))
        kept = AllImages(x, y)
        model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0, callbacks=[kept])
        if not way.losses or kept.losses[-1] < way.losses[-1]:
            way.rate, way.losses = rate, kept.losses
            way.effective = effective_rates(model, x[:batch], y[:batch])


class AllImages(keras.callbacks.Callback):
    """Records the loss on all images; the logged loss is a mean over changing weights."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        super().__init__()
        self.x, self.y = x, y
        self.losses: list[float] = []

    def measure(self) -> None:
        scores = keras.ops.convert_to_numpy(self.model(self.x))
        self.losses.append(float(-np.log(scores[np.arange(len(self.y)), self.y] + 1e-7).mean()))

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.measure()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.measure()


def step_of(model: keras.Model, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """Return the change of each weight in one step on a batch; the weights are restored."""
    before = model.get_weights()
    model.train_on_batch(x, y)
    moved = [old - new for old, new in zip(before, model.get_weights(), strict=True)]
    model.set_weights(before)
    return moved


def effective_rates(model: keras.Model, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return the norm of a step over the norm of the gradient, for each layer with weights."""
    plain = network(x.shape[1:], keras.optimizers.SGD(1.0))  # its step is the gradient
    plain.set_weights(model.get_weights())
    gradient, step = step_of(plain, x, y), step_of(model, x, y)
    kernels = [layer.name for layer in model.layers if layer.weights]
    sizes = [
        [np.linalg.norm(moved) for moved in part[::2]]  # kernels, without biases
        for part in (step, gradient)
    ]
    return {name: float(a / b) for name, a, b in zip(kernels, *sizes, strict=True)}


def noise(x: np.ndarray, y: np.ndarray, draws: int = 50) -> dict[int, float]:
    """Return the variance of batch gradients, relative to the squared gradient of all images."""
    model = network(x.shape[1:], keras.optimizers.SGD(1.0))
    random = np.random.default_rng(0)

    def gradient(rows: np.ndarray) -> np.ndarray:
        return np.concatenate([part.ravel() for part in step_of(model, x[rows], y[rows])])

    whole = gradient(np.arange(len(x)))
    found = {}
    for size in (1, BATCH, len(x)):
        drawn = [gradient(random.permutation(len(x))[:size]) for _ in range(draws)]
        found[size] = float(np.mean([((one - whole) ** 2).sum() for one in drawn]))
    return {size: value / float((whole**2).sum()) for size, value in found.items()}


def draw(compared: dict[str, Way], images: int) -> Figure:
    """Draw the loss on all images against epochs and against steps."""
    figure = kd.report.new_figure(10.5, 4.4)
    left, right = figure.subplots(1, 2, sharey=True)
    for name, way in compared.items():
        color, dashes = way.look
        epochs = np.arange(len(way.losses))
        steps = epochs * -(-images // (way.batch or images))
        left.plot(epochs, way.losses, dashes, color=color, lw=2, label=name)
        right.plot(steps[1:], way.losses[1:], dashes, color=color, lw=2)
    right.set_xscale("log")
    left.set_yscale("log")
    right.xaxis.set_major_formatter("{x:g}")
    left.set_yticks(ticks := [0.1, 0.2, 0.5, 1, 2, 5], map(str, ticks))
    left.set_ylim(0.8 * min(min(way.losses) for way in compared.values()), 3)
    left.minorticks_off()
    left.set_xlabel("epochs: images seen", fontsize=12)
    right.set_xlabel("steps: updates of the weights", fontsize=12)
    left.set_ylabel("loss on all training images", fontsize=12)
    left.legend(frameon=False, fontsize=10)
    style_axes(left, right)
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--output", type=Path, default=Path("optimizers"))
    arguments = parser.parse_args()
    main(arguments.images, arguments.epochs, arguments.output)
