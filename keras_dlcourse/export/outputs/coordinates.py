"""Boxes and keypoints, as `OutputDescription` layers declare them."""

from __future__ import annotations

from collections.abc import Mapping

from keras_dlcourse.edge.description.layouts import (
    BOUNDARIES,
    CENTER,
    UPPER_LEFT,
    BoxLayout,
    KeypointLayout,
)
from keras_dlcourse.edge.tflite import schema
from keras_dlcourse.export.outputs.kind import Kind, ModelOutput
from keras_dlcourse.export.outputs.numbers import LIMITS, compare_numbers
from keras_dlcourse.export.writing.flatbuffer_writer import Table
from keras_dlcourse.export.writing.output import Output
from keras_dlcourse.export.writing.tables import describe_box, describe_tensor

_BOX_TYPES = {
    BOUNDARIES: schema.BoundingBoxType.BOUNDARIES,
    UPPER_LEFT: schema.BoundingBoxType.UPPER_LEFT,
    CENTER: schema.BoundingBoxType.CENTER,
}


def _is_box(output: ModelOutput) -> bool:
    return isinstance(output.layout, BoxLayout)


def _is_keypoints(output: ModelOutput) -> bool:
    return isinstance(output.layout, KeypointLayout)


def _describe_box(output: Output) -> Table:
    layout = output.layout
    if not isinstance(layout, BoxLayout):
        raise TypeError(f"a box needs a BoxLayout. Received: {layout!r}")
    return describe_tensor(
        output.name,
        f"A box ({layout.kind}), in shares of the image.",
        {schema.TensorMetadata.CONTENT: describe_box(_BOX_TYPES[layout.kind], layout.index)},
    )


def _describe_keypoints(output: Output) -> Table:
    relative_to = getattr(output.layout, "relative_to", "image")
    return describe_tensor(output.name, f"x and y of keypoints, relative to the {relative_to}")


def _rows(figures: Mapping[str, float]) -> list[list[str]]:
    return [["largest, mean error", "", f"{figures['max_error']:.4f}, {figures['mean_error']:.4f}"]]


BOX = Kind(_is_box, compare_numbers, LIMITS, _describe_box, _rows)
KEYPOINTS = Kind(_is_keypoints, compare_numbers, LIMITS, _describe_keypoints, _rows)
