"""Images, whose pixels are normalized before the graph or inside it."""

from __future__ import annotations

import numpy as np

from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.edge.tflite import schema
from keras_dlcourse.edge.tflite.graph import Tensor
from keras_dlcourse.export.conversion.device_model import is_image_shape
from keras_dlcourse.export.inputs.kind import Kind, ModelInput
from keras_dlcourse.export.writing.flatbuffer_writer import Table
from keras_dlcourse.export.writing.input import Input
from keras_dlcourse.export.writing.tables import describe_content, describe_tensor, process_unit


def _recognize(given: ModelInput) -> bool:
    # A gray image may lack its channel axis; a series, of the same rank, has no normalization.
    return is_image_shape(given.shape) or (
        len(given.shape) == 2 and given.normalization is not None
    )


def _describe(given: Input, tensor: Tensor) -> Table:
    """Describe the image size, the normalization of pixels, and the range that results."""
    height, width, channels = (*tensor.shape[1:], 1)[:3]
    properties = Table(
        {
            schema.ImageProperties.COLOR_SPACE: np.int8(
                schema.ColorSpace.RGB if channels == 3 else schema.ColorSpace.GRAYSCALE
            ),
            schema.ImageProperties.DEFAULT_SIZE: Table(
                {
                    schema.ImageSize.WIDTH: np.uint32(width),
                    schema.ImageSize.HEIGHT: np.uint32(height),
                }
            ),
        }
    )
    normalization = _find_normalization(given, tensor)
    options = Table(
        {
            schema.NormalizationOptions.MEAN: list(normalization.mean),
            schema.NormalizationOptions.STD: list(normalization.std),
        }
    )
    low, high = (
        [float(v) for v in normalization(np.full(len(normalization.mean), level))]
        for level in (0, 255)
    )
    return describe_tensor(
        given.name or "image",
        "An image.",
        {
            schema.TensorMetadata.CONTENT: describe_content(
                schema.ContentProperties.IMAGE, properties
            ),
            schema.TensorMetadata.PROCESS_UNITS: [
                process_unit(schema.ProcessUnitOptions.NORMALIZATION, options)
            ],
            schema.TensorMetadata.STATS: Table({schema.Stats.MAX: high, schema.Stats.MIN: low}),
        },
    )


def _find_normalization(given: Input, tensor: Tensor) -> Normalization:
    """Return the normalization that a reader of the file must apply to pixels.

    For 8-bit inputs, it is the one encoded by the tensor's scale and zero point, so that a pixel p
    is stored as p even if the mean used in training was not a whole gray level.
    """
    offset = {"uint8": 0, "int8": 128}.get(tensor.dtype)
    if offset is None or given.in_graph is not None:
        return given.before_graph or Normalization.identity()
    return Normalization(tensor.zero_points[0] + offset, 1 / tensor.scales[0])


IMAGE = Kind(_recognize, _describe)
