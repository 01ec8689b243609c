"""Formats of box, keypoint, mask and detection outputs."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

# Names of the outputs that hold them.
BOX, KEYPOINTS, SEGMENTATION, DETECTION = "box", "keypoints", "segmentation", "detection"


# Frames of reference of keypoint coordinates.
RELATIVE_TO = ("image", "box")


BOUNDARIES, UPPER_LEFT, CENTER = "boundaries", "upper left", "center"


@dataclass(frozen=True)
class BoxLayout:
    """Meaning of the four values of a box, as in the standard TFLite metadata.

    Attributes:
        kind: `"boundaries"`: left, top, right, bottom. `"upper left"`: left, top, width, height.
            `"center"`: x and y of the center, width, height.
        index: For each of the four values, its position in that list.
        in_pixels: Whether values are in pixels of the network's input instead of fractions of it.
    """

    kind: str
    index: tuple[int, int, int, int] = (0, 1, 2, 3)
    in_pixels: bool = False

    def edges(self, numbers: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Return left, top, right and bottom as fractions of the network's input, from 0 to 1.

        Args:
            numbers: Box values `(n, 4)`.
            size: Height and width of the network's input.

        Example:
            >>> layout = BoxLayout("center", (0, 1, 3, 2))  # x, y, height, width
            >>> layout.edges(np.array([[0.5, 0.5, 0.25, 0.5]]), (8, 8)).tolist()
            [[0.25, 0.375, 0.75, 0.625]]
        """
        ordered = np.empty(numbers.shape, np.float32)
        ordered[:, list(self.index)] = numbers
        first: np.ndarray = ordered[:, :2]
        second: np.ndarray = ordered[:, 2:]
        if self.kind == CENTER:
            first, second = first - second / 2, first + second / 2
        elif self.kind == UPPER_LEFT:
            second = first + second
        edges = np.concatenate([first, np.maximum(first, second)], axis=1)
        if self.in_pixels:
            edges = edges / np.array([size[1], size[0]] * 2, np.float32)
        return np.clip(np.nan_to_num(edges), 0, 1)


# The formats of `kd.data.BOX_FORMATS` that are relative to the image size.
BOX_LAYOUTS = {
    "rel_xyxy": BoxLayout(BOUNDARIES),
    "rel_yxyx": BoxLayout(BOUNDARIES, (1, 0, 3, 2)),
    "rel_xywh": BoxLayout(UPPER_LEFT),
    "rel_xyhw": BoxLayout(UPPER_LEFT, (0, 1, 3, 2)),
    "rel_center_xywh": BoxLayout(CENTER),
    "rel_center_xyhw": BoxLayout(CENTER, (0, 1, 3, 2)),
}


@dataclass(frozen=True)
class KeypointLayout:
    """Meaning of the values of a keypoint output: x and y of each point in turn.

    Attributes:
        relative_to: `"image"`: fractions of the image, from its upper left corner. `"box"`:
            offsets from the center of the box in another output, in box widths and heights.
        names: Names of the points, or None.
    """

    relative_to: str
    names: tuple[str, ...] | None = None

    def places(self, numbers: np.ndarray, edges: np.ndarray | None) -> np.ndarray:
        """Return x and y as fractions of the network's input, `(n, points, 2)`.

        Args:
            numbers: Keypoint values `(n, 2 * points)`.
            edges: Boxes `(n, 4)` from `BoxLayout.edges`; required if `relative_to` is `"box"`.

        Example:
            >>> layout = KeypointLayout("box")
            >>> layout.places(np.array([[0.5, 0.0]]), np.array([[0.2, 0.2, 0.6, 0.4]])).round(1)
            array([[[0.6, 0.3]]])
        """
        points = numbers.reshape(len(numbers), numbers.shape[1] // 2, 2)
        if self.relative_to == "box" and edges is not None:
            low, high = edges[:, None, :2], edges[:, None, 2:]
            points = points * (high - low) + (low + high) / 2
        return points


# What turns the values of a mask output into confidences, in the order of MediaPipe's codes.
NO_ACTIVATION, SIGMOID, SOFTMAX = ACTIVATIONS = ("none", "sigmoid", "softmax")


@dataclass(frozen=True)
class MaskLayout:
    """Meaning of the values of a mask output: one value per class at each position.

    Attributes:
        activation: What turns them into confidences: `"softmax"` over the classes, `"sigmoid"` of
            each value, or `"none"` if they are confidences.
    """

    activation: str

    def confidences(self, values: np.ndarray, axis: int = -1) -> np.ndarray:
        """Return the confidence of each class at each position, from 0 to 1.

        Args:
            values: The values of the output, float.
            axis: The axis of the classes.

        Example:
            >>> MaskLayout("softmax").confidences(np.array([0.0, np.log(3)])).round(2).tolist()
            [0.25, 0.75]
        """
        if self.activation == SOFTMAX:
            powers = np.exp(values - values.max(axis, keepdims=True))
            return np.asarray(powers / powers.sum(axis, keepdims=True))
        if self.activation == SIGMOID:
            powers = np.exp(-np.abs(values))  # of negative numbers, which cannot overflow
            return np.where(values < 0, powers, 1) / (1 + powers)
        return values


# What the differences between boxes and anchors are multiplied by: y, x, height and width.
SCALES = (10.0, 10.0, 5.0, 5.0)
# Boxes may extend beyond the image, but by no more than its size.
_FARTHEST = (-1.0, 2.0)


@dataclass(frozen=True)
class DetectionLayout:
    """Meaning of the boxes and scores of a detector: four values and one score per class an anchor.

    The values of a box are those of SSD, in the order y, x, height, width:
    `scales * ((y - y_a) / h_a, (x - x_a) / w_a, log(h / h_a), log(w / w_a))`, where the center of
    the box is at x, y, and that of its anchor at x_a, y_a.

    Attributes:
        anchors: For each anchor, x and y of its center, width and height, as fractions of the
            image.
        scales: The scales of y, x, height and width.
        activation: What turns the values of the scores into confidences: `"none"` or `"sigmoid"`.

    Reference:
        Liu et al. (2016), SSD: Single Shot MultiBox Detector, https://arxiv.org/abs/1512.02325
    """

    anchors: tuple[tuple[float, float, float, float], ...]
    scales: tuple[float, float, float, float] = SCALES
    activation: str = NO_ACTIVATION

    def edges(self, numbers: np.ndarray, chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return left, top, right and bottom as fractions of the network's input.

        Boxes may extend beyond the input, by at most its size.

        Args:
            numbers: Values of the boxes of some anchors, `(n, 4)`.
            chosen: Which anchors these are; all by default.

        Example:
            >>> layout = DetectionLayout(((0.5, 0.5, 0.2, 0.4),))
            >>> layout.edges(np.array([[0.0, 5.0, 0.0, 0.0]])).round(3)
            array([[0.5, 0.3, 0.7, 0.7]], dtype=float32)
        """
        anchors: np.ndarray = self._anchors[chosen]
        values = numbers.astype(np.float32)[:, [1, 0, 3, 2]] / self._scales
        centers = values[:, :2] * anchors[:, 2:] + anchors[:, :2]
        with np.errstate(over="ignore"):  # an infinite box is cut below
            halves = np.exp(values[:, 2:]) * anchors[:, 2:] / 2
            edges = np.concatenate([centers - halves, centers + halves], axis=1)
        return np.clip(edges, *_FARTHEST)

    def confidences(self, values: np.ndarray) -> np.ndarray:
        """Return the confidence of each class at each anchor, from 0 to 1."""
        return MaskLayout(self.activation).confidences(values)

    @functools.cached_property
    def _anchors(self) -> np.ndarray:
        return np.array(self.anchors, np.float32).reshape(-1, 4)

    @functools.cached_property
    def _scales(self) -> np.ndarray:
        """The scales of x, y, width and height."""
        return np.array(self.scales, np.float32)[[1, 0, 3, 2]]


Layout = BoxLayout | KeypointLayout | MaskLayout | DetectionLayout
