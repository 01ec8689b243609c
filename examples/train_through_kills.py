"""Compare a training run that is killed at random with an undisturbed one.

bash examples/train_through_kills.sh killed/      # trains both, draws killed/curves.png

The individual steps: `python examples/train_through_kills.py train FOLDER` starts or resumes a run,
and `compare FOLDER FOLDER PICTURE` compares two completed runs.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np


def train(folder: Path, epochs: int, images: int, save_freq: int, say_batches: bool) -> None:
    import keras

    import keras_dlcourse as kd

    keras.utils.set_random_seed(0)
    data = kd.data.load("fashion_mnist_small")
    x, y = data.train.x[:images], data.train.y[:images]
    batches = kd.data.pipeline(x, y, shuffle=True, seed=0, normalization=data.normalization)
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.RandomTranslation(0.1, 0.1),
            keras.layers.Conv2D(16, 3, strides=2),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Conv2D(32, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    rate = keras.optimizers.schedules.CosineDecay(2e-3, epochs * len(batches))
    model.compile(
        keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    teller = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: say_batches and print("batch", flush=True)
    )
    model.fit(
        batches,
        validation_data=data.validation,
        epochs=epochs,
        verbose=0,
        callbacks=[
            kd.callbacks.BackupAndRestore(folder / "backup", save_freq=save_freq),
            kd.training.HistoryFile(folder / "history.csv"),
            teller,
        ],
    )
    np.savez(folder / "weights.npz", *model.get_weights())


def compare(one: Path, other: Path, picture: Path) -> float:
    """Plot the losses of both runs, and print and return the largest difference of a weight."""
    import matplotlib.pyplot as plt

    with np.load(one / "weights.npz") as a, np.load(other / "weights.npz") as b:
        difference = max(float(np.abs(a[name] - b[name]).max()) for name in a.files)
    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    for folder, style in ((one, {"lw": 5, "alpha": 0.35}), (other, {"lw": 1.5, "ls": "--"})):
        with (folder / "history.csv").open() as file:
            rows = list(csv.DictReader(file))
        for name in ("loss", "val_loss"):
            color = "tab:blue" if name == "loss" else "tab:orange"
            axes.plot([int(row["epoch"]) for row in rows], [float(row[name]) for row in rows],
                      color=color, label=f"{name}, {folder.name}", **style)  # fmt: skip
    axes.set(xlabel="epoch", ylabel="loss", title=f"Largest difference of a weight: {difference:g}")
    axes.legend()
    figure.savefig(picture, dpi=120)
    print(f"largest difference of a weight: {difference:g}; {picture}")
    return difference


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train")
    training.add_argument("folder", type=Path)
    training.add_argument("--epochs", type=int, default=12)
    training.add_argument("--images", type=int, default=4000)
    training.add_argument("--save-freq", type=int, default=25)
    training.add_argument("--say-batches", action="store_true", help="print a line for each batch")
    comparing = commands.add_parser("compare")
    for name in ("one", "other", "picture"):
        comparing.add_argument(name, type=Path)
    options = parser.parse_args()
    if options.command == "train":
        train(
            options.folder, options.epochs, options.images, options.save_freq, options.say_batches
        )
    else:
        raise SystemExit(compare(options.one, options.other, options.picture) != 0)
