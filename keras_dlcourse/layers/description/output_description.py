"""What the numbers of an output mean, kept inside the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_dlcourse.edge.description.labels import checked_class_names
from keras_dlcourse.edge.description.layouts import BOX, BOX_LAYOUTS, KEYPOINTS, RELATIVE_TO


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class OutputDescription(keras.layers.Layer):
    """Identity layer at the end of a network that records what an output means.

    It changes no number. What it records travels in the `.keras` file, and from there into the
    `.tflite` file, where the device reads it.

    Args:
        kind: `"box"`: four numbers, `"keypoints"`: two for each point, x and y.
        bounding_box_format: For a box, what the numbers are: one of `kd.data.BOX_FORMATS` in shares
            of the image (`"rel_..."`).
        relative_to: For keypoints, of what x and y are shares. `"image"`: from its upper left
            corner. `"box"`: from the middle of the box, in its widths and heights, so from -0.5 to
            0.5 within it.
        names: For keypoints, what the points are called, or None.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: `(batch, numbers)`.

    Returns:
        The inputs.

    Raises:
        ValueError: If an argument is none of these, or belongs to another kind.

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
        if kind not in (BOX, KEYPOINTS):
            raise ValueError(f"kind must be 'box' or 'keypoints'. Received: {kind!r}")
        if (kind == BOX) != (bounding_box_format is not None):
            raise ValueError("bounding_box_format belongs to kind='box', which needs it")
        if (kind == KEYPOINTS) != (relative_to is not None):
            raise ValueError("relative_to belongs to kind='keypoints', which needs it")
        if kind == BOX and names is not None:
            raise ValueError("names belong to kind='keypoints'")
        if bounding_box_format is not None and bounding_box_format not in BOX_LAYOUTS:
            raise ValueError(
                "bounding_box_format must be in shares of the image, so that it holds on images of "
                f"any size: one of {', '.join(BOX_LAYOUTS)}. Received: {bounding_box_format!r}"
            )
        if relative_to is not None and relative_to not in RELATIVE_TO:
            raise ValueError(f"relative_to must be 'image' or 'box'. Received: {relative_to!r}")
        self.kind = kind
        self.bounding_box_format = bounding_box_format
        self.relative_to = relative_to
        self.names = None if names is None else checked_class_names(names, "names")

    def call(self, inputs: Any) -> Any:
        """Return `inputs`."""
        return inputs

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return `input_shape`."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this layer again, in types that JSON knows."""
        return {
            **super().get_config(),
            "kind": self.kind,
            "bounding_box_format": self.bounding_box_format,
            "relative_to": self.relative_to,
            "names": None if self.names is None else list(self.names),
        }
