"""Regions found without labels in the embedded scenes: how well they fit, as proposals, and time.

- best masks: the mean IoU of masks that have the best class in each region, an upper bound;
- snapped: the mean IoU of a random forest that sees the color and place of single pixels, before
  and after each region takes the class of most of its pixels;
- proposals: the share of true boxes that a box of a region overlaps with an IoU of 0.5.

The network features are those of a small classifier of single garments.
"""

from __future__ import annotations

import time

import keras
import numpy as np
from _figures import Figure
from sklearn.ensemble import RandomForestClassifier

import keras_dlcourse as kd
from keras_dlcourse.boxes.of_masks import intersection_over_union

SCENES, PER_SCENE = 60, 100  # pixels of each training scene that the forest sees
SCALES = (20, 50, 100, 200, 400)


def measure() -> list[Figure]:
    scenes, train = kd.data.fashion_scenes("test", SCENES), kd.data.fashion_scenes("train", 300)
    truth, guess = scenes.class_masks, guessed(train, scenes.images)
    pixels = score(truth, guess)
    figures = [Figure("a random forest of single pixels: mean IoU", pixels, "", 0, False)]
    maps = feature_maps(scenes.images)
    ways = {
        "kmeans": {}, "mean_shift": {}, "slic": {}, "watershed": {}, "graph": {},
        "kmeans of network features": {"features": maps},
        "graph of network features": {"features": maps},
    }  # fmt: skip
    for name, options in ways.items():
        began = time.process_time()
        found = kd.data.find_regions(scenes.images, name.split()[0], **options)
        each = (time.process_time() - began) / SCENES * 1000
        best = score(truth, kd.data.vote_in_regions(found, truth))
        snapped = score(truth, kd.data.vote_in_regions(found, guess))
        boxes = kd.data.region_boxes(found, smallest=8)
        hit, count = recall(scenes.boxes, boxes), np.mean([len(one) for one in boxes])
        numbers = found.max(axis=(1, 2)).mean() + 1
        detail = (
            f"snapped {snapped:.3f}; {numbers:.0f} regions; {count:.0f} boxes that hit {hit:.2f}; "
            f"{each:.0f} ms of processor time per image"
        )
        # The best class of a region is at least as good as a guess.
        figures.append(Figure(f"{name}: best masks, mean IoU", best, "", snapped, False, detail))
    several = [
        kd.data.region_boxes(kd.data.find_regions(scenes.images, "graph", scale=scale), smallest=8)
        for scale in SCALES
    ]
    joined = [np.unique(np.concatenate(one), axis=0) for one in zip(*several, strict=True)]
    figures.append(
        Figure("graph, five scales: true boxes hit", recall(scenes.boxes, joined), "", 0, False,
               f"{np.mean([len(one) for one in joined]):.0f} boxes per image")
    )  # fmt: skip
    return figures


def score(truth: np.ndarray, masks: np.ndarray) -> float:
    return float(kd.metrics.mask_scores(truth, masks, 11).pixels.mean_iou)


def guessed(train: kd.data.Scenes, images: np.ndarray) -> np.ndarray:
    """Return the classes that a random forest gives to single pixels."""
    pixels, labels = vectors(train.images), train.class_masks.ravel()
    rows = np.random.default_rng(0).permutation(len(labels))[: len(train) * PER_SCENE]
    forest = RandomForestClassifier(30, min_samples_leaf=5, random_state=0, n_jobs=1)
    forest.fit(pixels[rows], labels[rows])
    return forest.predict(vectors(images)).reshape(images.shape[:3])


def vectors(images: np.ndarray) -> np.ndarray:
    count, height, width, channels = images.shape
    places = np.broadcast_to(np.stack(np.mgrid[:height, :width], -1), (count, height, width, 2))
    return np.concatenate([images, places], axis=-1).reshape(-1, channels + 2)


def feature_maps(images: np.ndarray) -> np.ndarray:
    """Return maps of a small network that was trained to classify single garments."""
    keras.utils.set_random_seed(0)
    data = kd.data.load("fashion_mnist_small")
    conv = {"padding": "same", "activation": "relu"}
    inputs = keras.Input((None, None, 1))
    x = keras.layers.Conv2D(16, 5, **conv)(inputs)
    maps = keras.layers.Conv2D(32, 3, 2, **conv)(x)
    x = keras.layers.Conv2D(64, 3, 2, **conv)(maps)
    scores = keras.layers.Dense(10, "softmax")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, scores)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(data.train, epochs=3, verbose=0)
    gray = images.mean(axis=-1, keepdims=True).astype("uint8")
    return keras.Model(inputs, maps).predict(data.test.prepare(gray), verbose=0)


def recall(true: np.ndarray, boxes: list[np.ndarray]) -> float:
    """Return the share of true boxes that one of the boxes overlaps with an IoU of 0.5."""
    hits = []
    for one, found in zip(true, boxes, strict=True):
        one = one[~np.isnan(one[:, 0])]
        hits += list(intersection_over_union(one[:, None], found[None]).max(axis=1) >= 0.5)
    return float(np.mean(hits))
