"""Parts of standard TFLite metadata that inputs and outputs of every kind have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_dlcourse.edge.tflite import schema
from keras_dlcourse.export.writing.flatbuffer_writer import Table
from keras_dlcourse.export.writing.output import Output


def describe_tensor(name: str, text: str, more: Mapping[int, Any] | None = None) -> Table:
    """Describe a tensor; as plain values, if nothing else is said about its content."""
    return Table(
        {
            schema.TensorMetadata.NAME: name,
            schema.TensorMetadata.DESCRIPTION: text,
            schema.TensorMetadata.CONTENT: describe_content(
                schema.ContentProperties.FEATURE, Table()
            ),
            **(more or {}),
        }
    )


def process_unit(kind: int, options: Table) -> Table:
    """Describe a step that is applied to values before or after the graph."""
    return Table(
        {
            schema.ProcessUnit.OPTIONS_TYPE: np.uint8(kind),
            schema.ProcessUnit.OPTIONS: options,
        }
    )


def describe_box(kind: int, index: Sequence[int]) -> Table:
    """Describe values as a box in fractions of the image.

    Args:
        kind: The meaning of the four values.
        index: For each of them, its position in the default order.
    """
    slots = schema.BoundingBoxProperties
    properties = Table(
        {
            slots.INDEX: [np.uint32(number) for number in index],
            slots.TYPE: np.int8(kind),
            slots.COORDINATE_TYPE: np.int8(schema.CoordinateType.RATIO),
        }
    )
    return describe_content(schema.ContentProperties.BOUNDING_BOX, properties)


def describe_content(kind: int, properties: Table) -> Table:
    """Describe the content of a tensor."""
    return Table(
        {
            schema.Content.PROPERTIES_TYPE: np.uint8(kind),
            schema.Content.PROPERTIES: properties,
        }
    )


def describe_labels(
    output: Output, kind: int = schema.AssociatedFileType.TENSOR_AXIS_LABELS
) -> dict[int, Any]:
    """Describe the attached file with the class names of an output; empty if it has none.

    Args:
        output: The output.
        kind: Whether the names are those of the places along its last axis, or of its values.
    """
    if output.labels is None:
        return {}
    slots = schema.AssociatedFile
    file = Table(
        {
            slots.NAME: output.labels_file,
            slots.DESCRIPTION: "Names of the classes, one a line.",
            slots.TYPE: np.int8(kind),
        }
    )
    return {schema.TensorMetadata.ASSOCIATED_FILES: [file]}
