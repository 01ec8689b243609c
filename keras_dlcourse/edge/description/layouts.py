"""Formats of box, keypoint and mask outputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Names of the outputs that hold them.
BOX, KEYPOINTS, SEGMENTATION = "box", "keypoints", "segmentation"


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


Layout = BoxLayout | KeypointLayout | MaskLayout
