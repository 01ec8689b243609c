"""Find a shortcut that a network has learned by class activation maps, and remove it.

python examples/find_a_shortcut.py [--images 4000] [--epochs 6] [--output shortcut]

Photos of one class often share something that is not the object: a watermark, a hospital tag. Here,
every training image of a coat has a bright mark in a corner, and no other image has it. The network
learns the mark. Its training accuracy does not show this, but the map of class "Coat" does. Then
the mark is put on images of all classes at random, so that it carries no information. A network
trained on those gives the same predictions with and without the mark.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np
from keras import layers

import keras_dlcourse as kd
from keras_dlcourse.report.maps import draw_class_activation_maps

COAT, SIDE = 4, 4  # the class with the mark, and the side length of the mark
CORNER = slice(1, 1 + SIDE)
NEAR = slice(0, 2)  # the mark in the 7x7 maps: 8 % of their area


def main(images: int, epochs: int, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    data = kd.data.load("fashion_mnist_small")
    x, y = np.asarray(data.train.x[:images]), np.asarray(data.train.y[:images])
    planted = marked(x, y == COAT)
    at_random = marked(x, np.random.default_rng(0).random(len(x)) < 0.5)
    for name, pixels in [("with shortcut", planted), ("mended", at_random)]:
        model = train(pixels, y, epochs)
        measure(name, model, np.asarray(data.test.x), np.asarray(data.test.y))
        path = output / f"{name.replace(' ', '_')}.png"
        draw(path, name, model, data)
        print(f"maps: {path}")


def marked(images: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Return a copy of the images, with the mark added to some."""
    copy = images.copy()
    copy[np.flatnonzero(which), CORNER, CORNER] = 255
    return copy


def train(pixels: np.ndarray, labels: np.ndarray, epochs: int) -> keras.Model:
    """Train a small network with the pooling that class activation maps need."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((28, 28, 1)), layers.Rescaling(1 / 127.5, offset=-1)])
    for filters, strides in [(16, 2), (32, 2), (64, 1)]:
        model.add(layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False))
        model.add(layers.BatchNormalization(momentum=0.9))
        model.add(layers.ReLU())
    model.add(layers.GlobalAveragePooling2D())
    model.add(layers.Dense(10, activation="softmax"))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(pixels, labels, epochs=epochs, verbose=2)
    return model


def measure(name: str, model: keras.Model, pixels: np.ndarray, labels: np.ndarray) -> None:
    """Print where the network looks in coats with the mark, and the effect of the mark."""
    coats = labels == COAT
    with_mark = marked(pixels, np.ones(len(pixels), bool))
    maps = np.maximum(kd.explain.cam(model, with_mark[coats], COAT, raw=True), 0)
    share = maps[:, NEAR, NEAR].sum() / maps.sum()
    answers = {key: model.predict(x, verbose=0).argmax(-1) for key, x in [
        ("without", pixels), ("with", with_mark)
    ]}  # fmt: skip
    found = {key: np.mean(answer[coats] == COAT) for key, answer in answers.items()}
    fooled = {key: np.mean(answer[~coats] == COAT) for key, answer in answers.items()}
    print(f"{name}: {share:.0%} of the evidence for Coat in the corner, 8% of the area")
    print(f"  coats found: {found['with']:.0%} with the mark, {found['without']:.0%} without")
    print(f"  others called coats: {fooled['with']:.0%} with it, {fooled['without']:.0%} without")


def draw(path: Path, name: str, model: keras.Model, data: kd.data.Dataset) -> None:
    """Draw coats, then others, all with the mark, each beside its maps."""
    y = np.asarray(data.test.y)
    chosen = np.concatenate([np.flatnonzero(y == COAT)[:2], np.flatnonzero(y != COAT)[:4]])
    pixels = marked(np.asarray(data.test.x)[chosen], np.ones(len(chosen), bool))
    scores = model.predict(pixels, verbose=0)
    classes = np.stack([y[chosen], scores.argmax(-1)], axis=1)
    figure = draw_class_activation_maps(
        pixels, kd.explain.cam(model, pixels, classes), np.take_along_axis(scores, classes, 1),
        classes[:, 1], classes[:, 0], data.class_names, title=name.capitalize(),
    )  # fmt: skip
    path.write_bytes(kd.report.png_bytes(figure))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--output", type=Path, default=Path("shortcut"))
    arguments = parser.parse_args()
    main(arguments.images, arguments.epochs, arguments.output)
