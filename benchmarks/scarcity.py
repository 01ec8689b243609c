"""Accuracy against images a class: by hand, from scratch, on a frozen ImageNet base, fine-tuned.

CIFAR-10, with 5 to 50 images a class and 400 test images; the base is a ResNet-50 that sees them
enlarged. Writes a table into docs/transfer.md.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable

import data
import keras
import numpy as np
from _figures import Figure
from _page import put
from PIL import Image
from sklearn.svm import LinearSVC

import keras_dlcourse as kd

COUNTS = (5, 10, 20, 50)
TEST, SIZE = 400, 64
Part = tuple[np.ndarray, np.ndarray]


def measure() -> list[Figure]:
    x, y, names = data.cifar10("train")
    test = tuple(values[:TEST] for values in data.cifar10("test")[:2])
    base = data.resnet50()
    rows: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        ways: dict[str, Callable[[Part, Part], float]] = {
            "HOG and linear SVM": by_hand,
            "from scratch": lambda some, rest: from_scratch(some, rest, None),
            "from scratch, augmentation": lambda some, rest: from_scratch(
                some, rest, kd.layers.RandomAffine(translation=0.12, horizontal_flip=True, seed=0)
            ),
            "frozen base": lambda some, rest: transferred(base, some, rest, 0, folder),
            "fine-tuned, last block": lambda some, rest: transferred(base, some, rest, 1, folder),
        }
        for name, way in ways.items():
            rows[name] = [way(chosen(x, y, count), test) for count in COUNTS]
            print(name, rows[name], flush=True)
    put("transfer.md", "scarcity", table(rows))
    twenty = COUNTS.index(20)
    return [
        Figure(
            f"right of {TEST} CIFAR-10 images, 20 a class to learn from: {name}",
            100 * values[twenty], "%", math.inf,
        )
        for name, values in rows.items()
    ]  # fmt: skip


def table(rows: dict[str, list[float]]) -> list[str]:
    lines = ["| images per class | " + " | ".join(map(str, COUNTS)) + " |", "|---" * 5 + "|"]
    for name, values in rows.items():
        lines.append(f"| {name} | " + " | ".join(f"{value:.1%}" for value in values) + " |")
    return [line.replace("%", " %") for line in lines]


def chosen(x: np.ndarray, y: np.ndarray, count: int) -> Part:
    """Choose images, as many of each class; fewer are the first of more."""
    rows = np.concatenate([np.flatnonzero(y == label)[:count] for label in range(10)])
    return x[rows], y[rows]


def by_hand(some: Part, test: Part) -> float:
    machine = LinearSVC(C=0.1).fit(kd.data.hog(some[0], cell=4), some[1])
    return float(machine.score(kd.data.hog(test[0], cell=4), test[1]))


def from_scratch(some: Part, test: Part, augmentation: keras.layers.Layer | None) -> float:
    """Train a network made for such images, for 300 steps."""
    keras.utils.set_random_seed(0)
    train = kd.data.pipeline(
        *some, batch_size=32, shuffle=True, normalization=kd.data.Normalization.fit(some[0])
    )
    model = kd.models.ResNet20CIFAR((32, 32, 3), classes=10, alpha=0.5)
    trainer = model if augmentation is None else kd.models.AugmentedModel(model, augmentation)
    steps = 300
    rate = kd.training.warmup_cosine(steps, 3e-3)
    trainer.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    trainer.fit(train, epochs=math.ceil(steps / len(train)), verbose=0)
    scores = model.predict(train.prepare(test[0]), verbose=0)
    return float(np.mean(scores.argmax(-1) == test[1]))


def transferred(base: keras.Model, some: Part, test: Part, blocks: int, folder: str) -> float:
    found = kd.training.transfer(
        base,
        10,
        (enlarged(some[0]), some[1]),
        preprocessing=keras.applications.resnet50.preprocess_input,
        unfreeze=blocks,
        epochs=(40, 5 if blocks else 0),
        learning_rates=(1e-2, 1e-4),
        cache=folder,
        verbose=0,
    )
    scores = found.model.predict(enlarged(test[0]), verbose=0)
    return float(np.mean(scores.argmax(-1) == test[1]))


def enlarged(images: np.ndarray) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(one).resize((SIZE, SIZE))) for one in images])
