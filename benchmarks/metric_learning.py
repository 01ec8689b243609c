"""Embeddings of characters never seen in training, by loss: float, in integers, with few shots.

Letters, digits and signs in 18 handwriting fonts, each rendered four times, turned, scaled and
shifted (`data.handwriting`): drawn by hands, but no scans. Two thirds of the characters train, one
third tests; another third for each seed. One small network, one budget of images for all losses.
Tested is one rendering of each unseen character in each hand, so that no image has its own twin in
the gallery.
"""

from __future__ import annotations

import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from _figures import Figure
from data import CHARACTERS, handwriting
from keras import layers as L

import keras_dlcourse as kd

SEEDS = tuple(range(int(os.environ.get("KD_SEEDS", "3"))))
EPOCHS = int(os.environ.get("KD_EPOCHS", "15"))
CLASSES, IMAGES, DIMENSIONS = 12, 5, 64
SHOTS = (1, 2, 5, 10)
MARGIN = 0.2  # of vectors of length 1


def measure() -> list[Figure]:
    x, characters, _ = handwriting()
    results: dict[str, list[dict[str, float]]] = {}
    figures = []
    for seed in SEEDS:
        parts = _Parts(x, characters, seed)
        results.setdefault("raw pixels", []).append(
            parts.measured(parts.test_x.reshape(len(parts.test_x), -1))
        )
        for name, train in TRAINED.items():
            keras.utils.set_random_seed(seed)
            embedder = train(parts)
            vectors = embedder.predict(parts.prepared(parts.test_x), batch_size=256, verbose=0)
            results.setdefault(name, []).append(parts.measured(vectors))
            print(seed, name, results[name][-1], flush=True)
            if seed == SEEDS[0] and name in (SHOWN, "softmax features"):
                figures += _integers(parts, embedder, vectors, name)
            if seed == SEEDS[0] and name == SHOWN:
                figures += _few_shots(parts, vectors) + _new_classes(parts, embedder, vectors)
    return [
        _spread(name, measure, rows) for name, rows in results.items() for measure in rows[0]
    ] + figures


class _Parts:
    """Characters to train on and others to test on."""

    def __init__(self, x: np.ndarray, characters: np.ndarray, seed: int) -> None:
        order = np.random.default_rng(seed).permutation(len(CHARACTERS))
        unseen = order[: len(CHARACTERS) // 3]
        self.seed, tested = seed, np.isin(characters, unseen)
        self.x, self.y = x[~tested], np.unique(characters[~tested], return_inverse=True)[1]
        one = np.flatnonzero(tested)[::4]  # one of the four renderings in a row
        self.test_x, self.test_y = x[one], np.unique(characters[one], return_inverse=True)[1]
        self.normalization = kd.data.Normalization.fit(self.x)
        self.train = kd.data.pipeline(
            self.x, self.y, batch_size=CLASSES * IMAGES, shuffle=True, seed=seed,
            normalization=self.normalization,
        )  # fmt: skip

    @property
    def classes(self) -> int:
        return int(self.y.max()) + 1

    def prepared(self, pixels: np.ndarray) -> np.ndarray:
        return np.asarray(self.normalization(pixels), "float32")

    def sampler(self) -> kd.data.PKSampler:
        return kd.data.PKSampler(self.train, CLASSES, IMAGES, seed=self.seed)

    def measured(self, vectors: np.ndarray) -> dict[str, float]:
        names = ("recall@1", "map@r", "verification_auc")
        return kd.retrieval.evaluate(vectors, self.test_y, names)


def _network() -> keras.Model:
    given = x = keras.Input((28, 28, 1))
    for filters, strides in ((32, 2), (64, 2), (128, 1)):
        x = L.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
        x = L.ReLU()(L.BatchNormalization(momentum=0.9)(x))
    return kd.models.embedding_model(keras.Model(given, x), DIMENSIONS)


def _adam() -> keras.optimizers.Optimizer:
    return keras.optimizers.Adam(2e-3)


def _by_labels(loss: Callable[[], keras.losses.Loss]) -> Callable[[_Parts], keras.Model]:
    """Train the embedding itself on batches of P classes with K images."""

    def train(parts: _Parts) -> keras.Model:
        model = _network()
        model.compile(_adam(), loss())
        model.fit(parts.sampler(), epochs=EPOCHS, verbose=0)
        return model

    return train


def _by_pairs(parts: _Parts) -> keras.Model:
    """As many images as the others see: half as many pairs an epoch."""
    model = _network()
    pairs = kd.models.Siamese(model)
    pairs.compile(_adam(), kd.losses.ContrastiveLoss(margin=1.0, squared=True))
    sampler = kd.data.PairSampler(parts.train, CLASSES * IMAGES // 2, seed=parts.seed)
    pairs.fit(sampler, epochs=EPOCHS, steps_per_epoch=len(parts.train), verbose=0)
    return model


def _by_classes(head: str) -> Callable[[_Parts], keras.Model]:
    """Train the embedding as what goes into a classifier, which is then dropped."""

    def train(parts: _Parts) -> keras.Model:
        model = _network()
        if head == "softmax":
            # Features of an ordinary classifier: no unit length in training.
            features = model.get_layer("embedding").output
            ends = L.Dense(parts.classes, activation="softmax")(L.ReLU()(features))
            loss: str | keras.losses.Loss = "sparse_categorical_crossentropy"
        else:
            ends = kd.layers.CosineDense(parts.classes)(model.output)
            loss = kd.losses.ArcFace(margin=0.3, scale=16.0)
        classifier = keras.Model(model.inputs, ends)
        classifier.compile(_adam(), loss)
        classifier.fit(parts.train, epochs=EPOCHS, verbose=0)
        return model

    return train


SHOWN = "triplet, semi-hard"
TRAINED: dict[str, Callable[[_Parts], keras.Model]] = {
    "softmax features": _by_classes("softmax"),
    "contrastive": _by_pairs,
    "triplet, all": _by_labels(lambda: kd.losses.TripletLoss(MARGIN, mining="all", over="active")),
    "triplet, hard": _by_labels(lambda: kd.losses.TripletLoss(MARGIN, mining="hard", soft=True)),
    SHOWN: _by_labels(lambda: kd.losses.TripletLoss(MARGIN)),
    "supervised contrastive": _by_labels(lambda: kd.losses.SupervisedContrastive(0.1)),
    "ArcFace": _by_classes("arcface"),
}


def _spread(name: str, measure: str, rows: list[dict[str, float]]) -> Figure:
    values = [row[measure] for row in rows]
    detail = f"{min(values):.3f} to {max(values):.3f}, {len(values)} seeds"
    return Figure(f"{name}: {measure}", statistics.mean(values), "", -math.inf, False, detail)


def _integers(parts: _Parts, model: keras.Model, vectors: np.ndarray, name: str) -> list[Figure]:
    """The same measures of the all-integer file's vectors."""
    with tempfile.TemporaryDirectory() as folder:
        result = kd.export.to_tflite(
            model, Path(folder) / "embedder.tflite", quantization="int8",
            calibration=parts.train, preprocessing=parts.normalization,
        )  # fmt: skip
        device = kd.edge.ImageEmbedder(result.path).embed_many(list(parts.test_x))
    found = parts.measured(device)
    cosine = float((device * vectors).sum(1).mean())
    detail = f"float {parts.measured(vectors)['recall@1']:.3f}, mean cosine {cosine:.4f}, seed 0"
    return [Figure(f"{name}, int8: recall@1", found["recall@1"], "", -math.inf, False, detail)]


def _few_shots(parts: _Parts, vectors: np.ndarray) -> list[Figure]:
    """Accuracy among the unseen characters by the number of enrolled images, 20 draws."""
    figures = []
    for shots in SHOTS:
        right = []
        for draw in range(20):
            enrolled, asked = _drawn(parts.test_y, shots, draw)
            found = kd.retrieval.identify(
                vectors[asked], vectors[enrolled], parts.test_y[enrolled].tolist()
            )
            right.append(np.mean([one.label for one in found] == parts.test_y[asked]))
        detail = f"{min(right):.3f} to {max(right):.3f} in 20 draws"
        what = f"{SHOWN}: {parts.test_y.max() + 1} new characters, {shots} enrolled of each"
        figures.append(Figure(what, float(np.mean(right)), "", -math.inf, False, detail))
    return figures


def _drawn(labels: np.ndarray, shots: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which images are enrolled, and the others."""
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(labels == k) for k in range(labels.max() + 1)]
    enrolled = np.concatenate([rng.permutation(group)[:shots] for group in groups])
    return enrolled, np.setdiff1d(np.arange(len(labels)), enrolled)


def _new_classes(parts: _Parts, embedder: keras.Model, vectors: np.ndarray) -> list[Figure]:
    """Five images of each new class: enrolled, or a softmax trained again on old and new ones."""
    enrolled, asked = _drawn(parts.test_y, 5, 0)
    began = time.perf_counter()
    templates = embedder.predict(parts.prepared(parts.test_x[enrolled]), verbose=0)
    seconds = time.perf_counter() - began
    found = kd.retrieval.identify(vectors[asked], templates, parts.test_y[enrolled].tolist())
    share = float(np.mean([one.label for one in found] == parts.test_y[asked]))
    began = time.perf_counter()
    count = parts.classes + int(parts.test_y.max()) + 1
    model = _network()
    ends = L.Dense(count, activation="softmax")(L.ReLU()(model.get_layer("embedding").output))
    classifier = keras.Model(model.inputs, ends)
    classifier.compile(_adam(), "sparse_categorical_crossentropy")
    images = np.concatenate([parts.x, parts.test_x[enrolled]])
    labels = np.concatenate([parts.y, parts.classes + parts.test_y[enrolled]])
    classifier.fit(parts.prepared(images), labels, batch_size=60, epochs=EPOCHS, verbose=0)
    again = time.perf_counter() - began
    scores = classifier.predict(parts.prepared(parts.test_x[asked]), verbose=0)
    right = scores[:, parts.classes :].argmax(1) == parts.test_y[asked]
    detail = f"{seconds:.2f} s for {len(enrolled)} images"
    return [
        Figure("5 images of each new class, enrolled: right", share, "", -math.inf, False, detail),
        Figure(
            "5 images of each new class, softmax trained again: right among the new",
            float(right.mean()), "", -math.inf, False, f"{again:.0f} s",
        ),
    ]  # fmt: skip
