"""What comes out: classes, boxes, keypoints, maps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


class BoundingBox(NamedTuple):
    """A box in pixels of an image.

    Attributes:
        origin_x: Its left edge.
        origin_y: Its upper edge.
        width: How wide it is.
        height: How high it is.
    """

    origin_x: int
    origin_y: int
    width: int
    height: int


class NormalizedKeypoint(NamedTuple):
    """A point in an image.

    Attributes:
        x: Share of the image's width, from the left.
        y: Share of its height, from the top.
        label: What it is called, or None.
    """

    x: float
    y: float
    label: str | None


class Category(NamedTuple):
    """A class that an image may show.

    Attributes:
        index: Its number among the model's outputs.
        label: Its name.
        score: What the model gives it; for softmax outputs a probability.
    """

    index: int  # type: ignore[assignment]  # instead of tuple's method
    label: str
    score: float


class Classification(NamedTuple):
    """What an image shows, and where.

    Attributes:
        categories: As `ImageClassifier.classify` returns them, the likeliest first.
        class_maps: float32 array of shape (height, width, classes), classes in the order of the
            outputs: `M_c = sum_k w_k^c f_k` over the last feature maps f_k. The unit is that of the
            scores before softmax or sigmoid; the bias is not in it.
    """

    categories: list[Category]
    class_maps: np.ndarray


@dataclass(frozen=True)
class Detection:
    """An object in an image.

    Attributes:
        bounding_box: Where it is, in pixels of the image; None if the model does not say.
        categories: What it may be, the likeliest first; empty if the model does not say.
        keypoints: Its points, in shares of the image; empty if the model has none.
    """

    bounding_box: BoundingBox | None = None
    categories: list[Category] = field(default_factory=list)
    keypoints: list[NormalizedKeypoint] = field(default_factory=list)
