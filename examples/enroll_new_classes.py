"""Add new classes on a device: five photos each, no training.

It trains an embedding on seven classes of clothes. Three new classes are then enrolled from five
photos each and recognized in a process that uses only NumPy, Pillow and LiteRT.

python examples/enroll_new_classes.py [--epochs 8] [--output runs/enroll]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

NEW = ("Trouser", "Sneaker", "Bag")  # never seen in training
SHOTS, PHOTOS = 5, 100  # per new class: enrolled, and in total


def at_the_desk(epochs: int, output: Path) -> None:
    """Train an embedding without the new classes, export it, and save photos of them."""
    import keras
    import numpy as np
    from PIL import Image

    import keras_dlcourse as kd

    keras.utils.set_random_seed(0)
    data = kd.data.load("fashion_mnist_small")
    new = [data.class_names.index(name) for name in NEW]
    seen = np.flatnonzero(~np.isin(data.train.y, new))
    labels = np.unique(data.train.y[seen], return_inverse=True)[1]
    train = kd.data.pipeline(
        data.train.x[seen], labels, batch_size=64, shuffle=True, normalization=data.normalization
    )
    layers = [keras.Input(data.image_shape)]
    for filters in (32, 64, 128):
        layers += [
            keras.layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.ReLU(),
        ]
    backbone = keras.Sequential(layers)  # or a kd.models.MobileNetV2(..., include_top=False)
    embedder = kd.models.embedding_model(backbone, dimensions=64)
    embedder.compile("adam", kd.losses.SupervisedContrastive())
    # Each batch has nine images of each class, so every image has positives.
    embedder.fit(kd.data.PKSampler(train, classes=len(set(labels)), images=9), epochs=epochs)

    result = kd.export.to_tflite(
        embedder, output / "embedder.int8.tflite", quantization="int8", calibration=train
    )
    print(kd.export.verify(embedder, result, data.test, limit=500))
    for name, number in zip(NEW, new, strict=True):
        folder = output / "photos" / name
        folder.mkdir(parents=True, exist_ok=True)
        for place, row in enumerate(np.flatnonzero(data.test.y == number)[:PHOTOS]):
            Image.fromarray(data.test.x[row, ..., 0]).save(folder / f"{place:03}.png")


def on_the_device(output: Path) -> None:
    """Enroll a few photos of each new class and identify the rest."""
    from keras_dlcourse.edge import Gallery, ImageEmbedder

    embedder = ImageEmbedder(output / "embedder.int8.tflite")
    gallery = Gallery(embedder)
    photos = {name: sorted((output / "photos" / name).glob("*.png")) for name in NEW}
    for name, taken in photos.items():
        gallery.enroll(name, taken[:SHOTS])
    gallery.save(output / "gallery.kdg")
    for match in ("nearest", "mean"):
        gallery.match = match
        right = {
            name: [found.label == name for found in gallery.identify_many(taken[SHOTS:])]
            for name, taken in photos.items()
        }
        share = {name: f"{sum(found) / len(found):.0%}" for name, found in right.items()}
        every = [one for found in right.values() for one in found]
        print(f"{match}: {sum(every) / len(every):.1%} of {len(every)} photos right, {share}")
    print(f"{embedder.runtime}; one embedding: {embedder.benchmark()}")
    if {"keras", "tensorflow", "jax"} & set(sys.modules):
        raise RuntimeError("keras, tensorflow or jax was imported, which a device does not have.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--output", type=Path, default=Path("runs/enroll"))
    parser.add_argument("--on-device", action="store_true", help="run only the device part")
    arguments = parser.parse_args()
    if arguments.on_device:
        on_the_device(arguments.output)
    else:
        at_the_desk(arguments.epochs, arguments.output)
        command = [sys.executable, __file__, "--on-device", "--output", str(arguments.output)]
        subprocess.run(command, check=True)
