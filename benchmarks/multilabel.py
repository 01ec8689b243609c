"""Images with any number of labels: rare classes, thresholds, integers.

Scenes of one to three cut-outs on photographs (`data.cutouts`, `data.photographs`), 64 x 64, drawn
so that one class is rare. Training, validation and test share neither a cut-out nor a photograph.
"""

from __future__ import annotations

import math
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
from _figures import Figure
from data import cutouts, photographs
from keras import layers as L
from localizer import SIDE, _spread, network
from sklearn.metrics import average_precision_score, f1_score

import keras_dlcourse as kd

SEEDS = tuple(range(int(os.environ.get("KD_SEEDS", "3"))))
EPOCHS = int(os.environ.get("KD_EPOCHS", "8"))
COUNTS, CLASSES, RARE = (8000, 2000, 2000), 4, 0
KEPT = 0.15  # share of scenes with the rare class that stay


def measure() -> list[Figure]:
    parts = scenes()
    train = parts[0]
    weights = kd.data.positive_weights(train.y)
    losses = {
        "cross-entropy": kd.losses.WeightedBinaryCrossentropy(),
        "positive weights": kd.losses.WeightedBinaryCrossentropy(weights),
        "focal loss": keras.losses.BinaryFocalCrossentropy(),
    }
    figures = [
        Figure("training scenes", len(train.y), "", -math.inf, False),
        Figure("share with the rare class", float(train.y[:, RARE].mean()), "", -math.inf, False,
               f"of the other classes {np.delete(train.y.mean(0), RARE).min():.3f} at least"),
    ]  # fmt: skip
    y = parts[2].y
    all_there = _measures(np.ones(y.shape), y, np.zeros(CLASSES))
    constant = {
        what: all_there[what] for what in ("mAP", "F1 at 0.5", "F1 of the rare class at 0.5")
    }
    figures += [
        Figure(f"all classes in all scenes: {what}", value, "", -math.inf, False)
        for what, value in constant.items()
    ]
    for name, loss in losses.items():
        models = [_trained(train, loss, seed) for seed in SEEDS]
        rows = [_judged(model, *parts[1:]) for model in models]
        print(name, rows, flush=True)
        figures += _spread(name, rows)
        if name == "cross-entropy":
            figures += _in_integers(models, parts)
    return figures


def scenes() -> list[kd.data.Pipeline]:
    """Return training, validation and test."""
    objects, labels, _ = cutouts()
    photos = photographs()
    sources = kd.data.split_sources(labels, len(photos), (0.2, 0.2))
    composed = [
        _part([objects[k] for k in some], labels[some], [photos[k] for k in behind], count, number)
        for number, (count, (some, behind)) in enumerate(zip(COUNTS, sources, strict=True))
    ]
    normalization = kd.data.Normalization.fit(composed[0][0])
    names = ("bird", "flower", "fruit", "mammal")
    return [
        kd.data.pipeline(
            *part, batch_size=64, shuffle=True, normalization=normalization, class_names=names
        )
        for part in composed
    ]


def _part(
    objects: list[Any], labels: Any, photos: list[Any], count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return images and which classes each shows, most of those with the rare class left out."""
    images, shown = [], []
    for number in (1, 2, 3):
        composed = kd.data.compose_scenes(
            objects, labels, photos, count // 3, (SIDE, SIDE), objects=number, scale=(0.4, 0.6),
            seed=10 * seed + number,
        )  # fmt: skip
        y = np.zeros((len(composed), CLASSES), "int32")
        y[np.arange(len(y))[:, None], composed.labels] = 1
        images.append(composed.images)
        shown.append(y)
    x, y = np.concatenate(images), np.concatenate(shown)
    rng = np.random.default_rng(seed)
    kept = (y[:, RARE] == 0) | (rng.random(len(y)) < KEPT)
    return x[kept], y[kept]


def _trained(train: kd.data.Pipeline, loss: keras.losses.Loss, seed: int) -> keras.Model:
    backbone = network(seed)
    pooled = L.GlobalMaxPooling2D()(backbone.output)
    model = keras.Model(backbone.inputs, L.Dense(CLASSES, activation="sigmoid")(pooled))
    rate = keras.optimizers.schedules.CosineDecay(2e-3, EPOCHS * len(train))
    model.compile(keras.optimizers.Adam(rate), loss)
    train.epoch = 0
    model.fit(train, epochs=EPOCHS, verbose=0)
    return model


def _judged(
    model: keras.Model, validation: kd.data.Pipeline, test: kd.data.Pipeline
) -> dict[str, float]:
    scores = model.predict(test, verbose=0)
    return _measures(scores, test.y, kd.training.choose_thresholds(model, validation))


def _measures(scores: np.ndarray, y: np.ndarray, thresholds: np.ndarray) -> dict[str, float]:
    def f1(found: np.ndarray) -> tuple[float, float]:
        each = f1_score(y, found, average=None, zero_division=0)
        return float(each.mean()), float(each[RARE])

    plain, chosen = f1(scores >= 0.5), f1(scores >= thresholds)
    return {
        "mAP": average_precision_score(y, scores),
        "F1 at 0.5": plain[0],
        "F1 at chosen thresholds": chosen[0],
        "F1 of the rare class at 0.5": plain[1],
        "F1 of the rare class at chosen thresholds": chosen[1],
    }


def _in_integers(models: list[keras.Model], parts: list[kd.data.Pipeline]) -> list[Figure]:
    """The same measures of the device files, with the thresholds that they carry."""
    train, validation, test = parts
    rows: dict[str, list[dict[str, float]]] = {"float32": [], "int8": []}
    for model in models:
        thresholds = kd.training.choose_thresholds(model, validation)
        with tempfile.TemporaryDirectory() as folder:
            for name in rows:
                path = Path(folder) / f"{name}.tflite"
                kd.export.to_tflite(
                    model, path, quantization=name, calibration=train, score_thresholds=thresholds
                )
                classifier = kd.edge.ImageClassifier(path)
                scores = classifier.scores(test.x)
                carried = np.float32(classifier.score_thresholds)
                rows[name].append(_measures(scores, test.y, carried))
    figures = [figure for name in rows for figure in _spread(f"{name} file", rows[name])]
    what = "F1 at chosen thresholds"
    before, after = (statistics.mean(row[what] for row in rows[name]) for name in rows)
    return [*figures, Figure("int8 loses of F1", before - after, "", 0.02)]
