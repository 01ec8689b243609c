"""What makes a deep network trainable: activations, initialization, batch normalization.

python examples/compare_activations.py [--images 2000] [--epochs 10]

First, it trains one network with five activations. It prints how many steps of plain gradient
descent, at the best of a few learning rates, bring the loss on all images to a given value, and the
fraction of units that then output 0. Next, it trains ten ReLU layers with and without batch
normalization, from a good and a bad initialization, at a normal and a high learning rate.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import keras
import numpy as np

import keras_dlcourse as kd

ACTIVATIONS = {
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "ReLU": "relu",
    "leaky ReLU": keras.layers.LeakyReLU(0.01),
    "ELU": "elu",
}
RATES = (0.03, 0.1, 0.3, 1.0)
TARGET = 0.5  # cross-entropy in nats
BATCH = 32
EVERY = 5  # steps between two evaluations of the loss


def main(images: int, epochs: int) -> None:
    part = kd.data.load("fashion_mnist_small").train
    x, y = part.prepare(part.x[:images]) - 0.5, np.asarray(part.y[:images])
    for name, activation in ACTIVATIONS.items():
        steps, rate, zeros = min(steps_to_target(x, y, activation, epochs))
        most = epochs * -(-images // BATCH)
        reached = f"after {steps:.0f} steps at rate {rate:g}"
        reached = reached if np.isfinite(steps) else f"not reached in {most} steps"
        print(f"{name:10}: loss {TARGET} {reached}, {zeros:.0%} of units at 0")
    for start in ("He", "N(0, 0.01)"):
        for rate in (0.1, 1.0):
            without, with_ = (deep(x, y, start, rate, epochs, norm) for norm in (False, True))
            print(
                f"ten layers, {start}, rate {rate:g}: accuracy {without:.2f}, "
                f"with batch normalization {with_:.2f}"
            )


def network(
    shape: tuple[int, ...], depth: int, activation: object, initializer: object, norm: bool
) -> keras.Model:
    """Build dense layers of 64 units; each activation is a separate layer."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(shape), keras.layers.Flatten()])
    for _ in range(depth):
        model.add(keras.layers.Dense(64, use_bias=not norm, kernel_initializer=initializer))
        if norm:
            model.add(keras.layers.BatchNormalization(momentum=0.9))
        model.add(keras.layers.Activation(activation))
    model.add(keras.layers.Dense(10, "softmax"))
    return model


def steps_to_target(
    x: np.ndarray, y: np.ndarray, activation: object, epochs: int
) -> Iterator[tuple[float, float, float]]:
    """Yield for each rate the steps it takes, the rate, and the fraction of units that output 0."""
    start = "glorot_normal" if activation in ("sigmoid", "tanh") else "he_normal"
    model = network(x.shape[1:], 4, activation, start, norm=False)
    model.compile(keras.optimizers.SGD(), kd.losses.for_task("multiclass"))
    weights = model.get_weights()
    units = [layer.output for layer in model.layers if isinstance(layer, keras.layers.Activation)]
    answers = keras.Model(model.inputs[0], units)
    for rate in RATES:
        model.set_weights(weights)
        model.optimizer.learning_rate = rate
        keras.utils.set_random_seed(0)  # for the same batches
        clock = StepsTo(TARGET, x, y)
        model.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[clock])
        zeros = [np.mean(keras.ops.convert_to_numpy(answer) == 0) for answer in answers(x)]
        yield clock.steps, rate, float(np.mean(zeros))


class StepsTo(keras.callbacks.Callback):
    """Stops once the loss on all images is at or below a target."""

    def __init__(self, target: float, x: np.ndarray, y: np.ndarray) -> None:
        super().__init__()
        self.target, self.x, self.y = target, x, y
        self.seen, self.steps = 0, float("inf")

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.seen += 1
        if self.seen % EVERY or np.isfinite(self.steps):
            return
        scores = keras.ops.convert_to_numpy(self.model(self.x))
        if -np.log(scores[np.arange(len(self.y)), self.y] + 1e-7).mean() <= self.target:
            self.steps = self.seen
            self.model.stop_training = True


def deep(x: np.ndarray, y: np.ndarray, start: str, rate: float, epochs: int, norm: bool) -> float:
    """Return the training accuracy of ten layers, in inference mode."""
    initializers = {"He": "he_normal", "N(0, 0.01)": keras.initializers.RandomNormal(0, 0.1, 1)}
    model = network(x.shape[1:], 10, "relu", initializers[start], norm)
    model.compile(keras.optimizers.SGD(rate), kd.losses.for_task("multiclass"))
    model.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0)
    scores = keras.ops.convert_to_numpy(model(x, training=False))
    return float(np.mean(scores.argmax(-1) == y))  # NaN scores count as the first class


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    main(arguments.images, arguments.epochs)
