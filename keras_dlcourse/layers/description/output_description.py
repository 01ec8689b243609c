"""The meaning of an output's values, stored in the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_dlcourse._checks import check_one_of
from keras_dlcourse.edge.description.labels import check_class_names
from keras_dlcourse.edge.description.layouts import (
    BOX,
    BOX_LAYOUTS,
    KEYPOINTS,
    RELATIVE_TO,
    SEGMENTATION,
)


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class OutputDescription(keras.layers.Layer):
    """Identity layer at the end of a network that records the meaning of an output.

    It changes no values. Its record is saved in the `.keras` file, and export copies it to the
    `.tflite` file, where the device reads it.

    Args:
        kind: `"box"`: four values, `"keypoints"`: x and y of each point, `"segmentation"`: the
            confidence of each class at each position, after a softmax over the classes or, for a
            single class, a sigmoid. It is the only output of its model.
        bounding_box_format: For a box, the meaning of the values: one of `kd.data.BOX_FORMATS` in
            fractions of the image (`"rel_..."`).
        relative_to: For keypoints, the reference of x and y. `"image"`: fractions of the image from
            its upper left corner. `"box"`: fractions of the box's width and height from its center,
            so from -0.5 to 0.5 within the box.
        names: For keypoints, the names of the points, or None.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: `(batch, values)`; for a segmentation, `(batch, height, width, classes)`.

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
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_one_of("kind", kind, (BOX, KEYPOINTS, SEGMENTATION))
        if (kind == BOX) != (bounding_box_format is not None):
            raise ValueError("bounding_box_format must be given if, and only if, kind='box'")
        if (kind == KEYPOINTS) != (relative_to is not None):
            raise ValueError("relative_to must be given if, and only if, kind='keypoints'")
        if kind != KEYPOINTS and names is not None:
            raise ValueError("names must only be given for kind='keypoints'")
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

    def call(self, inputs: Any) -> Any:
        """Return `inputs`."""
        return inputs

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
        }
