"""Results of device models: classes, boxes, keypoints, maps and masks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

# The value of pixels of a mask that have no class: as in labels, where losses ignore them.
NO_CATEGORY = 255
# The name of a class that is not an object.
BACKGROUND = "background"


class BoundingBox(NamedTuple):
    """A box in pixels of an image.

    Attributes:
        origin_x: Left edge.
        origin_y: Top edge.
        width: Width of the box.
        height: Height of the box.
    """

    origin_x: int
    origin_y: int
    width: int
    height: int


class NormalizedKeypoint(NamedTuple):
    """A point in an image.

    Attributes:
        x: Fraction of the image's width, from the left.
        y: Fraction of the image's height, from the top.
        label: Name of the point, or None.
    """

    x: float
    y: float
    label: str | None


class Category(NamedTuple):
    """A class that an image may show.

    Attributes:
        index: Index of the class in the model's output.
        label: Name of the class.
        score: Score from the model; a probability for softmax outputs.
    """

    index: int  # type: ignore[assignment]  # overrides tuple.index
    label: str
    score: float


class Classification(NamedTuple):
    """The categories of an image and their class maps.

    Attributes:
        categories: Categories from `ImageClassifier.classify`, most likely first.
        class_maps: float32 array of shape (height, width, classes), classes in the order of the
            outputs: `M_c = sum_k w_k^c f_k` over the last feature maps f_k. Values have the unit
            of the scores before softmax or sigmoid and exclude the bias.
    """

    categories: list[Category]
    class_maps: np.ndarray


@dataclass(frozen=True)
class Detection:
    """An object in an image.

    Attributes:
        bounding_box: Box in pixels of the image; None if the model predicts none.
        categories: Candidate classes, most likely first; empty if the model predicts none.
        keypoints: Keypoints in fractions of the image; empty if the model predicts none.
    """

    bounding_box: BoundingBox | None = None
    categories: list[Category] = field(default_factory=list)
    keypoints: list[NormalizedKeypoint] = field(default_factory=list)


@dataclass(frozen=True)
class Segmentation:
    """The masks of an image, at its size.

    Attributes:
        labels: Names of the categories, in the order of their numbers in `category_mask`; those
            that the file does not name are `"class 0"`, `"class 1"`, ...
        category_mask: uint8 array of shape (height, width): the class with the highest confidence.
            Of a single class, 1 is the object, where its confidence is above 0.5, and 0 the
            background. 255 is outside the center crop of a segmenter with `crop=True`. None if it
            was not requested.
        confidence_masks: float32 array of shape (classes, height, width), from 0 to 1; NaN outside
            the center crop. Of a single class, shape (1, height, width). None if it was not
            requested.
    """

    labels: tuple[str, ...]
    category_mask: np.ndarray | None = None
    confidence_masks: np.ndarray | None = None

    @property
    def areas(self) -> dict[str, float]:
        """The fraction of the image that each class covers, by name; outside the crop is none."""
        if self.category_mask is None:
            raise ValueError("areas need a category mask. Pass output_category_mask=True.")
        counts = np.bincount(self.category_mask.reshape(-1), minlength=NO_CATEGORY + 1)
        shares = (counts / self.category_mask.size).tolist()
        return dict(zip(self.labels, shares, strict=False))
