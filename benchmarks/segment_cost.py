"""Masks at the size of the image: 256 x 256 x 21 logits to 1280 x 720, beside OpenCV's resize.

Ours is all that `ImageSegmenter` and `draw_segmentation` do after the network: confidences, their
interpolation, the class with the highest one, and the overlay. OpenCV's is the resize of the same
logits alone (`pip install opencv-python-headless`), on one thread, as ours. What ours costs depends
on how many pixels are at a border between classes: ellipses are objects in a photograph, fragments
hundreds of regions; in noise, every pixel is at a border, and only printed.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from _figures import Figure, in_turn, ratio

from keras_dlcourse.edge import Segmentation, draw_segmentation
from keras_dlcourse.edge.description.layouts import MaskLayout
from keras_dlcourse.edge.vision.mask_size import enlarge_confidences, find_categories

SIDE, CLASSES, SIZE = 256, 21, (720, 1280)
LAYOUT = MaskLayout("softmax")
LIMIT = 1.5
ROUNDS = 41


def measure() -> list[Figure]:
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (*SIZE, 3)).astype("uint8")
    labels = tuple(f"class {number}" for number in range(CLASSES))
    scenes = {
        "12 ellipses": (_draw_ellipses(rng), LIMIT),
        "fragments": (_draw_fragments(rng), math.inf),
        "noise": (rng.normal(0, 3, (SIDE, SIDE, CLASSES)).astype("float32"), math.inf),
    }
    figures = []
    for name, (logits, limit) in scenes.items():

        def ours(logits: np.ndarray = logits) -> None:
            categories = find_categories(logits, LAYOUT, SIZE)
            draw_segmentation(photo, Segmentation(labels, categories))

        times = in_turn(ours, lambda given=logits: _resize(given), rounds=ROUNDS)
        what = f"category mask and overlay, {name} ({_border_share(logits):.1%} of it at borders)"
        figures.append(ratio(f"{what} / OpenCV's resize of the logits", *times, limit))
    out = np.empty((CLASSES, *SIZE), "float32")
    logits = scenes["12 ellipses"][0]
    times = in_turn(
        lambda: enlarge_confidences(logits, LAYOUT, out), lambda: _resize(logits), rounds=ROUNDS
    )
    what = "softmax and all 21 confidence masks / OpenCV's resize of the logits"
    return [*figures, ratio(what, *times, math.inf), *_check(logits, out)]


def _resize(logits: np.ndarray) -> np.ndarray:
    return cv2.resize(logits, SIZE[::-1], interpolation=cv2.INTER_LINEAR)


def _draw_ellipses(rng: np.random.Generator) -> np.ndarray:
    """Return the logits of a network that is sure inside objects and unsure at their borders."""
    logits = rng.normal(-4, 0.5, (SIDE, SIDE, CLASSES))
    logits[..., 0] += 4
    y, x = np.mgrid[:SIDE, :SIDE]
    for number in range(12):
        center, radii = rng.uniform(20, SIDE - 20, 2), rng.uniform(10, 40, 2)
        inside = 1 - np.hypot((y - center[0]) / radii[0], (x - center[1]) / radii[1])
        logits[..., 1 + number] += 12 * np.tanh(3 * inside)
    return logits.astype("float32")


def _draw_fragments(rng: np.random.Generator) -> np.ndarray:
    coarse = rng.normal(0, 3, (17, 17, CLASSES)).astype("float32")
    return cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


def _border_share(logits: np.ndarray) -> float:
    """Return the share of positions whose class differs from that to the right or below."""
    best = np.pad(logits.argmax(-1), ((0, 1), (0, 1)), mode="edge")
    here = best[:-1, :-1]
    others = (best[:-1, 1:], best[1:, :-1], best[1:, 1:])
    return float(np.any([here != other for other in others], axis=0).mean())


def _check(logits: np.ndarray, confidences: np.ndarray) -> list[Figure]:
    """Compare with OpenCV's resize of the confidences."""
    theirs = np.moveaxis(_resize(LAYOUT.confidences(logits)), -1, 0)
    error = np.abs(theirs - confidences)
    best, second = np.sort(theirs, axis=0)[:-3:-1]
    other = (find_categories(logits, LAYOUT, SIZE) != theirs.argmax(0)) & (best - second > 1e-4)
    return [
        Figure("largest difference of confidences to OpenCV's", float(error.max()), "", 1e-4),
        Figure("pixels whose class differs from OpenCV's by more than rounding",
               float(other.sum()), "", 0),
    ]  # fmt: skip
