"""The part of an image that a network saw, and places in it as places in the image."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keras_dlcourse.edge.results import BoundingBox, NormalizedKeypoint


class Window(NamedTuple):
    """The part of an image that the network saw, in pixels of the image.

    Attributes:
        left: Its left edge.
        top: Its upper edge.
        width: How wide it is.
        height: How high it is.
    """

    left: float
    top: float
    width: float
    height: float

    def box(self, edges: np.ndarray) -> BoundingBox:
        """Return a box, `(4,)` in shares of this part, in whole pixels of the image."""
        scale = np.array([self.width, self.height] * 2)
        left, top, right, bottom = np.round(edges * scale + [self.left, self.top] * 2).astype(int)
        return BoundingBox(int(left), int(top), int(right - left), int(bottom - top))

    def keypoints(
        self, places: np.ndarray, names: tuple[str, ...] | None, size: tuple[int, int]
    ) -> list[NormalizedKeypoint]:
        """Return points, `(points, 2)` in shares of this part, in shares of the image.

        Args:
            places: The points.
            names: What they are called.
            size: Height and width of the image.
        """
        x = (places[:, 0] * self.width + self.left) / size[1]
        y = (places[:, 1] * self.height + self.top) / size[0]
        labels = names or (None,) * len(places)
        return [
            NormalizedKeypoint(float(a), float(b), c) for a, b, c in zip(x, y, labels, strict=True)
        ]
