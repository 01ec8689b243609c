"""The meaning of an output's values, stored in the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_dlcourse._checks import check_number, check_one_of
from keras_dlcourse.edge.description.labels import check_class_names
from keras_dlcourse.edge.description.layouts import (
    BOX,
    BOX_LAYOUTS,
    DETECTION,
    KEYPOINTS,
    RELATIVE_TO,
    SCALES,
    SEGMENTATION,
    DetectionLayout,
)

_FARTHEST = 8.0  # of anchors, in fractions of the image: others are in pixels


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class OutputDescription(keras.layers.Layer):
    """Identity layer at the end of a network that records the meaning of an output.

    It changes no values. Its record is saved in the `.keras` file, and export copies it to the
    `.tflite` file, where the device reads it.

    Args:
        kind: `"box"`: four values, `"keypoints"`: x and y of each point, `"segmentation"`: the
            confidence of each class at each position, after a softmax over the classes or, for a
            single class, a sigmoid. It is the only output of its model. `"detection"`: four values
            for the box of each anchor, see `anchors`. The model returns a dictionary of two
            outputs: these, under the name of this layer, and `(batch, anchors, classes)`
            confidences after a sigmoid, without a column for the background.
        bounding_box_format: For a box, the meaning of the values: one of `kd.data.BOX_FORMATS` in
            fractions of the image (`"rel_..."`).
        relative_to: For keypoints, the reference of x and y. `"image"`: fractions of the image from
            its upper left corner. `"box"`: fractions of the box's width and height from its center,
            so from -0.5 to 0.5 within the box.
        names: For keypoints, the names of the points, or None.
        anchors: For a detection, array of shape `(anchors, 4)`: x and y of the center, width and
            height of each anchor in fractions of the image.
        scales: For a detection, the factors of the values of a box, y, x, height and width:
            `((y - y_a) / h_a, (x - x_a) / w_a, log(h / h_a), log(w / w_a))` for the center, height
            and width of box and anchor. Defaults to 10, 10, 5, 5, as in SSD.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: `(batch, values)`; for a segmentation, `(batch, height, width, classes)`; for a
            detection, `(batch, anchors, 4)`.

    Returns:
        The inputs.

    Raises:
        ValueError: If an argument is invalid, or does not apply to `kind`.

    Example:
        >>> layer = OutputDescription("box", bounding_box_format="rel_center_xywh")
        >>> layer(keras.Input((4,))).shape
        (None, 4)
    """

    def __init__(
        self,
        kind: str,
        bounding_box_format: str | None = None,
        relative_to: str | None = None,
        names: Sequence[str] | None = None,
        anchors: Any = None,
        scales: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_one_of("kind", kind, (BOX, KEYPOINTS, SEGMENTATION, DETECTION))
        if (kind == BOX) != (bounding_box_format is not None):
            raise ValueError("bounding_box_format must be given if, and only if, kind='box'")
        if (kind == KEYPOINTS) != (relative_to is not None):
            raise ValueError("relative_to must be given if, and only if, kind='keypoints'")
        if kind != KEYPOINTS and names is not None:
            raise ValueError("names must only be given for kind='keypoints'")
        if (kind == DETECTION) != (anchors is not None):
            raise ValueError("anchors must be given if, and only if, kind='detection'")
        if kind != DETECTION and scales is not None:
            raise ValueError("scales must only be given for kind='detection'")
        if bounding_box_format is not None:
            check_one_of(
                "bounding_box_format", bounding_box_format, tuple(BOX_LAYOUTS),
                why=". It must be in fractions of the image, to be valid for any image size.",
            )  # fmt: skip
        if relative_to is not None:
            check_one_of("relative_to", relative_to, tuple(RELATIVE_TO))
        self.kind = kind
        self.bounding_box_format = bounding_box_format
        self.relative_to = relative_to
        self.names = None if names is None else check_class_names(names, "names")
        self.detection = None
        if anchors is not None:
            scales = _check_scales(SCALES if scales is None else scales)
            self.detection = DetectionLayout(_check_anchors(anchors), scales)

    def call(self, inputs: Any) -> Any:
        """Return `inputs`."""
        return inputs

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Raise ValueError unless the boxes of a detection are as many as its anchors."""
        anchors = None if self.detection is None else len(self.detection.anchors)
        if anchors is not None and tuple(input_shape[1:]) != (anchors, 4):
            raise ValueError(
                f"boxes must have the shape (batch, {anchors}, 4), as layer {self.name!r} has "
                f"{anchors} anchors. Received: {tuple(input_shape)}"
            )

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return `input_shape`."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this layer, as JSON-serializable values."""
        return {
            **super().get_config(),
            "kind": self.kind,
            "bounding_box_format": self.bounding_box_format,
            "relative_to": self.relative_to,
            "names": None if self.names is None else list(self.names),
            "anchors": None if self.detection is None else [*map(list, self.detection.anchors)],
            "scales": None if self.detection is None else list(self.detection.scales),
        }


def _check_anchors(anchors: Any) -> tuple[tuple[float, float, float, float], ...]:
    """Return anchors as numbers that are exact in float32."""
    values = np.asarray(anchors)
    if values.dtype.kind not in "iuf":
        raise TypeError(f"anchors must be an array of numbers. Received: {type(anchors).__name__}")
    if values.ndim != 2 or values.shape[1] != 4 or not len(values):
        raise ValueError(f"anchors must have the shape (anchors, 4). Received: {values.shape}")
    values = values.astype("float32")
    if not np.isfinite(values).all() or not (values[:, 2:] > 0).all():
        raise ValueError(
            "anchors must be finite, with width and height above 0. Received: "
            f"{values[~(np.isfinite(values).all(1) & (values[:, 2:] > 0).all(1))][0]}"
        )
    if np.abs(values).max() > _FARTHEST:
        raise ValueError(
            "anchors must be x and y of the center, width and height in fractions of the image. "
            f"Received: values up to {np.abs(values).max():g}, which seem to be in pixels. Divide "
            "them by the size of the image"
        )
    # Short decimals, such as 0.1, for the configuration: they are the same in float32.
    rows = ([float(str(number)) for number in row] for row in values)
    return tuple((x, y, width, height) for x, y, width, height in rows)


def _check_scales(scales: Sequence[float]) -> tuple[float, float, float, float]:
    if len(scales) != 4:
        raise ValueError(f"scales must be those of y, x, height and width. Received: {scales}")
    y, x, height, width = (check_number("scales", one, above=0) for one in scales)
    return y, x, height, width
