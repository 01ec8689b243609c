"""Boxes learned from labels only, and whether maps tell two objects apart.

Real pieces of clothing (Fashion-MNIST, 28 x 28), each at a random place of a 64 x 64 canvas filled
with shreds of other pieces: composed images, so that the true boxes are known. The networks are
trained with labels alone. Compared: where they pool (maps of 16 x 16, 8 x 8, 4 x 4) and how (global
average or maximum). Then two pieces of different classes side by side: does the map of each class
fall on its own piece?
"""

from __future__ import annotations

import math
import os
import warnings

import keras
import numpy as np
from _figures import Figure
from keras import layers as L

import keras_dlcourse as kd
from keras_dlcourse.explain import METHODS

SIZE, PIECE, TRAIN, TEST, EPOCHS, DRAWN = 64, 28, 8000, 400, 6, 200
CHANCE = "two objects: 50 % by chance"
DISCRIMINATING = (
    "cam", "grad_cam", "grad_cam_pp", "layer_cam", "hires_cam", "saliency", "smooth_grad",
    "integrated_gradients", "guided_backprop", "occlusion",
)  # fmt: skip


def measure() -> list[Figure]:
    warnings.simplefilter("ignore", UserWarning)
    data = kd.data.load("fashion_mnist_small")
    x, y, _ = _scenes(data.train, TRAIN, seed=0)
    test_x, test_y, boxes = _scenes(data.test, TEST, seed=1)
    figures, best = [], None
    for stride in (4, 8, 16):
        for pooling in ("average", "max"):
            model = _trained(x, y, stride, pooling)
            accuracy = np.mean(model.predict(test_x, verbose=0).argmax(1) == test_y)
            maps = METHODS["cam"](model, test_x, test_y)
            name = f"{SIZE // stride} x {SIZE // stride}, global {pooling}"
            figures += _figures(name, accuracy, maps, boxes)
            if (stride, pooling) == (8, "average"):
                best = model
    return figures + _discrimination(best, data.test)  # fmt: skip


def _figures(name: str, accuracy: float, maps: np.ndarray, boxes: np.ndarray) -> list[Figure]:
    found = kd.metrics.MaxBoxAccuracy()
    pointing = kd.metrics.PointingGame(tolerance=0)
    coverage = kd.metrics.ObjectCoverage(threshold=0.5)
    for metric in (found, pointing, coverage):
        metric.update_state(boxes.astype("float32"), maps)
    detail = (
        f"{accuracy:.1%} of labels right; maximum on the object {float(pointing.result()):.1%}; "
        f"{float(coverage.result()):.1%} of the object above half of the maximum"
    )
    boxes_right = 100 * float(found.result())
    return [
        Figure(f"CAM of {name}: MaxBoxAcc at IoU 0.5", boxes_right, "%", -math.inf, False, detail)
    ]


def _discrimination(model: keras.Model, part) -> list[Figure]:
    pairs, classes = _pairs(part, DRAWN // 2)
    figures = []
    for method in os.environ.get("KD_METHODS", ",".join(DISCRIMINATING)).split(","):
        right = []
        for side in (0, 1):
            maps = METHODS[method](model, pairs, classes[:, side])
            middle = SIZE // 2
            halves = [maps[:, :, :middle].sum((1, 2)), maps[:, :, middle:].sum((1, 2))]
            right.append(halves[side] > halves[1 - side])
        share = 100 * float(np.mean(right))
        figures.append(
            Figure(
                f"{method}: map of a class on its own object", share, "%", -math.inf, False, CHANCE
            )
        )
    return figures


def _trained(x: np.ndarray, y: np.ndarray, stride: int, pooling: str) -> keras.Model:
    keras.utils.set_random_seed(0)
    given = z = keras.Input((SIZE, SIZE, 1))
    for number, filters in enumerate((16, 32, 64, 64)):
        step = 2 if 2 ** (number + 1) <= stride else 1
        z = L.Conv2D(filters, 3, strides=step, padding="same", use_bias=False)(z)
        z = L.ReLU()(L.BatchNormalization(momentum=0.9)(z))
    pool = L.GlobalAveragePooling2D() if pooling == "average" else L.GlobalMaxPooling2D()
    model = keras.Model(given, L.Dense(10, activation="softmax")(pool(z)))
    model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=64, epochs=EPOCHS, verbose=0)
    return model


def _scenes(part, n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compose n scenes of one piece; its box is that of the pixels that are not background."""
    rng = np.random.default_rng(seed)
    pieces, labels = np.asarray(part.x)[..., 0], np.asarray(part.y)
    chosen = rng.permutation(len(pieces))[:n]
    scenes, boxes = (
        np.stack([_shreds(pieces, rng) for _ in chosen]),
        np.zeros((len(chosen), 4), int),
    )
    for scene, box, piece in zip(scenes, boxes, pieces[chosen], strict=True):
        top, left = rng.integers(0, SIZE - PIECE + 1, 2)
        box[:] = _put(scene, piece, top, left)
    return _inputs(scenes), labels[chosen], boxes


def _pairs(part, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    pieces, labels = np.asarray(part.x)[..., 0], np.asarray(part.y)
    scenes, classes = np.stack([_shreds(pieces, rng) for _ in range(n)]), np.zeros((n, 2), int)
    for scene, pair in zip(scenes, classes, strict=True):
        first = rng.integers(len(pieces))
        second = rng.choice(np.flatnonzero(labels != labels[first]))
        for side, piece in enumerate((first, second)):
            left = side * SIZE // 2 + rng.integers(0, SIZE // 2 - PIECE + 1)
            _put(scene, pieces[piece], rng.integers(0, SIZE - PIECE + 1), left)
            pair[side] = labels[piece]
    return _inputs(scenes), classes


def _shreds(pieces: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A background of 7 x 7 shreds of other pieces, darker than the objects."""
    scene = np.zeros((SIZE, SIZE), "float32")
    for _ in range(40):
        shred = pieces[rng.integers(len(pieces)), 10:17, 10:17]
        top, left = rng.integers(0, SIZE - 7 + 1, 2)
        scene[top : top + 7, left : left + 7] = 0.5 * shred
    return scene


def _put(scene: np.ndarray, piece: np.ndarray, top: int, left: int) -> list[int]:
    mask = piece > 16
    scene[top : top + PIECE, left : left + PIECE][mask] = piece[mask]
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1]


def _inputs(scenes: np.ndarray) -> np.ndarray:
    return ((scenes - 60) / 80).astype("float32")[..., None]
