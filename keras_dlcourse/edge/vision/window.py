"""The part of an image that the network saw, and conversion of its coordinates to the image."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keras_dlcourse.edge.results import BoundingBox, NormalizedKeypoint
from keras_dlcourse.edge.vision.images import centre_box


class Window(NamedTuple):
    """The part of an image that the network saw, in pixels of the image.

    Attributes:
        left: Left edge.
        top: Top edge.
        width: Width of the part.
        height: Height of the part.
    """

    left: float
    top: float
    width: float
    height: float

    @classmethod
    def find(cls, size: tuple[int, int], seen: tuple[int, int], crop: bool) -> Window:
        """Return the part of an image that a network sees.

        Args:
            size: Height and width of the image.
            seen: Those of the input of the network.
            crop: Whether images are center-cropped, not stretched.
        """
        if not crop:
            return cls(0, 0, size[1], size[0])
        left, top, right, bottom = centre_box(*size, seen[0] / seen[1])
        return cls(left, top, right - left, bottom - top)

    def box(self, edges: np.ndarray) -> BoundingBox:
        """Convert a box `(4,)` in fractions of this part to integer pixels of the image."""
        scale = np.array([self.width, self.height] * 2)
        left, top, right, bottom = np.round(edges * scale + [self.left, self.top] * 2).astype(int)
        return BoundingBox(int(left), int(top), int(right - left), int(bottom - top))

    def keypoints(
        self, places: np.ndarray, names: tuple[str, ...] | None, size: tuple[int, int]
    ) -> list[NormalizedKeypoint]:
        """Convert points in fractions of this part to fractions of the image.

        Args:
            places: The points, `(points, 2)`.
            names: Names of the points, or None.
            size: Height and width of the image.
        """
        x = (places[:, 0] * self.width + self.left) / size[1]
        y = (places[:, 1] * self.height + self.top) / size[0]
        labels = names or (None,) * len(places)
        return [
            NormalizedKeypoint(float(a), float(b), c) for a, b, c in zip(x, y, labels, strict=True)
        ]
