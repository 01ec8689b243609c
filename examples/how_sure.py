"""Calibrate scores: a plain network, Monte Carlo dropout, an ensemble, and a temperature.

Few images and many epochs make a network overconfident. The table and the reliability diagram show
the effect of each remedy on accuracy, expected calibration error and cross-entropy.

python examples/how_sure.py [--images 1000] [--epochs 40] [--members 3] [--output runs/how_sure]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np

import keras_dlcourse as kd


def trained(train: kd.data.Pipeline, epochs: int, seed: int) -> keras.Model:
    """Train a network with dropout."""
    keras.utils.set_random_seed(seed)
    layers = [keras.Input(train.image_shape)]
    for filters in (16, 32):
        layers += [keras.layers.Conv2D(filters, 3, activation="relu"), keras.layers.MaxPooling2D()]
    layers += [keras.layers.Flatten(), keras.layers.Dropout(0.3)]
    layers += [keras.layers.Dense(128, "relu"), keras.layers.Dropout(0.3)]
    model = keras.Sequential([*layers, keras.layers.Dense(10, "softmax")])
    model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy")
    model.fit(train, epochs=epochs, verbose=0)
    return model


def measures(y: np.ndarray, scores: np.ndarray) -> list[str]:
    """Return accuracy, calibration error and cross-entropy."""
    right = np.mean(scores.argmax(1) == y)
    loss = -np.log(np.maximum(scores[np.arange(len(y)), y], 1e-30)).mean()
    return [f"{right:.1%}", f"{kd.report.reliability(y, scores).error:.1%}", f"{loss:.3f}"]


def main(images: int, epochs: int, members: int, output: Path) -> dict[str, list[str]]:
    data = kd.data.load("fashion_mnist_small")
    train = kd.data.pipeline(
        data.train.x[:images],
        data.train.y[:images],
        batch_size=64,
        shuffle=True,
        normalization=data.normalization,
    )
    models = [trained(train, epochs, seed) for seed in range(members)]
    model, joined = models[0], kd.models.ensemble(models)
    scaling = kd.training.TemperatureScaling().fit(model, data.validation)
    dropped = kd.models.MonteCarloDropout(model, samples=30).predict(data.test)
    scores = {
        "weights scaled": model.predict(data.test, verbose=0),
        "dropout, 30 masks": dropped.mean,
        f"ensemble of {members}": joined.predict(data.test, verbose=0),
        f"temperature {scaling.temperature:.2f}": scaling.apply(model).predict(
            data.test, verbose=0
        ),
    }
    y = data.test.y
    found = {name: measures(y, each) for name, each in scores.items()}
    columns = ["", "right", "calibration error", "cross-entropy"]
    print(kd.report.text_table(columns, [[name, *row] for name, row in found.items()]))
    wrong = dropped.mean.argmax(1) != y
    spread = dropped.spread[np.arange(len(y)), dropped.mean.argmax(1)]
    print(f"mean spread: {spread[wrong].mean():.3f} where wrong, {spread[~wrong].mean():.3f} else")
    output.mkdir(parents=True, exist_ok=True)
    answers = {name: kd.report.reliability(y, each) for name, each in scores.items()}
    picture = kd.report.png_bytes(kd.report.draw_reliability(answers))
    (output / "reliability.png").write_bytes(picture)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("runs/how_sure"))
    options = parser.parse_args()
    main(options.images, options.epochs, options.members, options.output)
