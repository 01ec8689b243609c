"""A detector of colored rectangles, whose last layers are solved for instead of trained."""

from __future__ import annotations

import functools

import keras
import numpy as np
from keras import layers

import keras_dlcourse as kd
from keras_dlcourse.edge.vision.non_max_suppression import box_ious
from keras_dlcourse.layers import OutputDescription

SIDE, LABELS = 48, ("red", "grün", "blue")
COLORS = np.array([[230, 40, 40], [40, 200, 60], [50, 70, 240]])
SCALES = (10.0, 10.0, 5.0, 5.0)
NORMALIZATION = kd.data.Normalization((127.0,), (127.5,))  # exact in integer files


def make_anchors():
    """Return x, y, width and height of the anchors of a 6x6 and a 3x3 grid, 90 in all."""
    rows = []
    for cells, sizes in ((6, (0.25, 0.35)), (3, (0.45, 0.6))):
        centers = (np.arange(cells) + 0.5) / cells
        rows += [(x, y, size, size) for y in centers for x in centers for size in sizes]
    return np.array(rows, "float32")


ANCHORS = make_anchors()


def scenes(count, seed):
    """Return images of one or two rectangles, their edges in fractions, and their classes."""
    rng = np.random.default_rng(seed)
    images = rng.integers(90, 130, (count, SIDE, SIDE, 3)).astype("uint8")
    boxes, classes = [], []
    for image in images:
        edges, numbers = [], []
        for _ in range(rng.integers(1, 3)):
            width, height = rng.integers(12, 27, 2)
            left, top = rng.integers(0, SIDE - width), rng.integers(0, SIDE - height)
            number = int(rng.integers(len(LABELS)))
            image[top : top + height, left : left + width] = COLORS[number]
            edges.append((left, top, left + width, top + height))
            numbers.append(number)
        boxes.append(np.array(edges) / SIDE)
        classes.append(np.array(numbers))
    return images, boxes, classes


def encode(boxes, classes):
    """Return the values and logits of each anchor for the boxes of an image."""
    left, top, width, height = (
        ANCHORS[:, 0] - ANCHORS[:, 2] / 2,
        ANCHORS[:, 1] - ANCHORS[:, 3] / 2,
        ANCHORS[:, 2],
        ANCHORS[:, 3],
    )
    edges = np.stack([left, top, left + width, top + height], axis=1)
    ious = box_ious(edges, boxes)
    best = boxes[ious.argmax(1)]
    x, y = (best[:, 0] + best[:, 2]) / 2, (best[:, 1] + best[:, 3]) / 2
    values = np.stack(
        [
            (y - ANCHORS[:, 1]) / height,
            (x - ANCHORS[:, 0]) / width,
            np.log((best[:, 3] - best[:, 1]) / height),
            np.log((best[:, 2] - best[:, 0]) / width),
        ],
        axis=1,
    ) * np.array(SCALES)
    logits = np.full((len(ANCHORS), len(LABELS)), -4.0)
    found = ious.max(1) > 0.4
    logits[found, classes[ious.argmax(1)][found]] = 3
    return values, logits, found


def build():
    """Return the network, with random last layers, and the one that ends before them."""
    keras.utils.set_random_seed(1)
    x = image = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(24, 5, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2D(48, 3, strides=2, padding="same", activation="relu")(x)
    fine = layers.Conv2D(128, 5, strides=2, padding="same", activation="relu")(x)
    coarse = layers.Conv2D(128, 3, strides=2, padding="same", activation="relu")(fine)
    coarse = layers.Concatenate()([coarse, layers.AveragePooling2D(2)(fine)])
    features, boxes, scores = [fine, coarse], [], []
    for number, part in enumerate(features):
        values = layers.Conv2D(8, 1, name=f"boxes_{number}")(part)
        logits = layers.Conv2D(2 * len(LABELS), 1, activation="sigmoid", name=f"scores_{number}")
        boxes.append(layers.Reshape((-1, 4))(values))
        scores.append(layers.Reshape((-1, len(LABELS)))(logits(part)))
    described = OutputDescription("detection", anchors=ANCHORS, scales=SCALES, name="boxes")
    outputs = {
        "boxes": described(layers.Concatenate(axis=1)(boxes)),
        "scores": layers.Concatenate(axis=1)(scores),
    }
    return keras.Model(image, outputs), keras.Model(image, features)


@functools.cache
def small_detector():
    """Return the detector."""
    model, body = build()
    images, boxes, classes = scenes(500, seed=0)
    targets = [encode(*one) for one in zip(boxes, classes, strict=True)]
    values, logits, found = (np.stack(parts) for parts in zip(*targets, strict=True))
    start = 0
    for number, part in enumerate(body.predict_on_batch(normalized(images))):
        rows = part.reshape(-1, part.shape[-1])
        rows = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
        stop = start + 2 * part.shape[1] * part.shape[2]
        kernels = {"boxes": [], "scores": []}
        for kind in range(2):
            here = slice(start + kind, stop, 2)
            wanted, weights = values[:, here].reshape(-1, 4), found[:, here].reshape(-1, 1)
            kernels["boxes"].append(solve(rows * weights, wanted * weights))
            weights = np.where(weights, 4, 1)
            wanted = logits[:, here].reshape(-1, len(LABELS))
            kernels["scores"].append(solve(rows * weights, wanted * weights))
        for name, parts in kernels.items():
            kernel = np.concatenate(parts, axis=1)
            layer = model.get_layer(f"{name}_{number}")
            layer.set_weights([kernel[None, None, :-1], kernel[-1]])
        start = stop
    return model


def solve(rows, wanted):
    """Return the coefficients of a ridge regression."""
    penalty = 1e-3 * np.trace(rows.T @ rows) / rows.shape[1] * np.eye(rows.shape[1])
    return np.linalg.solve(rows.T @ rows + penalty, rows.T @ wanted)


def normalized(images):
    """Return pixels as the network takes them."""
    return (images.astype("float32") - 127.0) / 127.5
