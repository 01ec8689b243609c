"""Scores of a classifier at every pixel of a 160x160 image, in processor time per image.

By shifting the image and stitching the maps, by the network without strides, and by upsampling the
coarse maps, which is cheap and gives other scores. All are compiled, and timed in turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import keras
import numpy as np
from _figures import Figure, ratio

import keras_dlcourse as kd

SIDE, ROUNDS = 160, 3


def measure() -> list[Figure]:
    keras.utils.set_random_seed(0)
    images = np.random.default_rng(0).normal(size=(1, SIDE, SIDE, 1)).astype("float32")
    figures = []
    for name, classifier in (
        ("LeNet-5, stride 4", kd.models.LeNet5((32, 32, 1))),
        ("four convolutions, stride 16", deep()),
    ):
        slides = kd.graph.dense_as_conv(classifier)
        dense = kd.graph.remove_strides(slides)
        ways: list[Callable[[], np.ndarray]] = [
            lambda dense=dense: dense.predict_on_batch(images),
            lambda slides=slides: kd.graph.shift_and_stitch(slides, images),
            lambda slides=slides: kd.graph.upsample_scores(slides, images),
        ]
        error = float(np.abs(ways[0]() - ways[1]()).max())
        at_once, shifted, upsampled = seconds(ways)
        figures += [
            ratio(f"{name}: without strides, against shift-and-stitch", at_once, shifted, 1.0),
            ratio(f"{name}: upsampled, against without strides", upsampled, at_once, 1.0),
            Figure(f"{name}: difference of the first two", error, "", 1e-5),
        ]
    return figures


def deep() -> keras.Model:
    """Return a classifier of 78x78 images without padding, with four poolings."""
    layers = keras.layers
    model = keras.Sequential([keras.Input((78, 78, 1))])
    for filters in (8, 16, 32, 64):
        model.add(layers.Conv2D(filters, 3, activation="relu"))
        model.add(layers.MaxPooling2D(2))
    model.add(layers.Flatten())
    model.add(layers.Dense(128, activation="relu"))
    model.add(layers.Dense(10, activation="softmax"))
    return model


def seconds(ways: list[Callable[[], np.ndarray]]) -> list[float]:
    """Return the least processor time of a call of each, taken in turn."""
    times: list[list[float]] = [[] for _ in ways]
    for way in ways:
        way()
    for _ in range(ROUNDS):
        for way, taken in zip(ways, times, strict=True):
            started = time.process_time()
            way()
            taken.append(time.process_time() - started)
    return [min(taken) for taken in times]
