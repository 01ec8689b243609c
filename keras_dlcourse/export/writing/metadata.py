"""Write standard TFLite metadata and this package's own record into a `.tflite` file.

A file with standard metadata works with MediaPipe Tasks on phones and in browsers, and with
`keras_dlcourse.edge` on boards. Schema: tensorflow/tflite-support, metadata_schema.fbs.
"""

from __future__ import annotations

import importlib.metadata
import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as tflite

from keras_dlcourse._version import __version__
from keras_dlcourse.edge.description.layouts import KeypointLayout
from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.edge.tflite import schema
from keras_dlcourse.edge.tflite.metadata import OWN
from keras_dlcourse.export.writing.flatbuffer_writer import Table, pack
from keras_dlcourse.export.writing.output import Output
from keras_dlcourse.export.writing.tables import describe_content, process_unit

MINIMUM_PARSER = "1.0.0"  # the oldest reader that supports everything written here


@dataclass(frozen=True)
class Description:
    """The description that a `.tflite` file carries.

    Attributes:
        name: Name of the model.
        image_size: Height and width of the input; None for a model with other inputs.
        channels: Number of channels of the input.
        input_normalization: The normalization to apply to a float input; for integer inputs, the
            one encoded by the tensor's scale and zero point; None for a model that does not take
            images.
        trained_normalization: The normalization applied to pixels in training, or None.
        normalization_in_graph: Whether the graph itself computes the normalization.
        quantization: Quantization scheme.
        rgb: Whether a one-channel network converts color images to gray inside its graph.
        keras_hash: SHA-256 of the Keras model's weights.
        outputs: The outputs, in the order of the file.
    """

    name: str
    image_size: tuple[int, int] | None
    channels: int | None
    input_normalization: Normalization | None
    trained_normalization: Normalization | None
    normalization_in_graph: bool
    quantization: str
    rgb: bool
    keras_hash: str
    outputs: tuple[Output, ...]


def describe_file(content: bytes, description: Description, outputs: Sequence[Table]) -> bytes:
    """Return the file with its metadata, and with the labels appended as a zip archive.

    Args:
        content: A `.tflite` file.
        description: The description to write.
        outputs: The standard metadata of each output.
    """
    entries = {OWN: _own_record(description)}
    if description.image_size is not None:
        entries[schema.METADATA_NAME] = _standard_record(description, outputs)
    content = _add_entries(content, entries)
    labeled = [one for one in description.outputs if one.labels is not None]
    if not labeled:
        return content
    # Readers find the zip from the end of the file, so it goes last; the model part is unchanged.
    with io.BytesIO() as whole:
        whole.write(content)
        with zipfile.ZipFile(whole, "a", zipfile.ZIP_STORED) as archive:
            for one in labeled:
                entry = zipfile.ZipInfo(one.labels_file)  # dated 1980: the same file each time
                archive.writestr(entry, "\n".join(one.labels or ()) + "\n")
        return whole.getvalue()


def _add_entries(content: bytes, entries: dict[str, bytes]) -> bytes:
    """Add named buffers to the model's metadata, replacing those with the same names."""
    model = tflite.ModelT.InitFromPackedBuf(content, 0)
    model.metadata = [m for m in model.metadata or [] if m.name.decode() not in entries]
    for name, value in entries.items():
        buffer = tflite.BufferT()
        buffer.data = np.frombuffer(value, np.uint8)
        model.buffers.append(buffer)
        entry = tflite.MetadataT()
        entry.name = name.encode()
        entry.buffer = len(model.buffers) - 1
        model.metadata.append(entry)
    return pack_model(model, len(content) + sum(map(len, entries.values())))


def pack_model(model: tflite.ModelT, size: int) -> bytes:
    """Serialize a model to the bytes of a `.tflite` file.

    Args:
        model: The model.
        size: Approximate size of the result in bytes.
    """
    builder = flatbuffers.Builder(size + 4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _own_record(description: Description) -> bytes:
    """Return what the standard metadata cannot hold, as JSON."""
    trained = description.trained_normalization
    record = asdict(description) | {
        "version": __version__,
        "normalization": None if trained is None else trained.to_dict(),
        "created_with": {
            name: importlib.metadata.version(name) for name in ("tensorflow", "keras")
        },
    }
    del record["input_normalization"], record["trained_normalization"]
    first = description.outputs[0]
    record["outputs"] = [{"name": one.name, "kind": one.kind} for one in description.outputs]
    record["labels"], record["score_thresholds"] = first.labels, first.score_thresholds
    # The standard metadata can describe boxes, but not keypoints.
    record["keypoints"] = {
        one.name: asdict(one.layout)
        for one in description.outputs
        if isinstance(one.layout, KeypointLayout)
    }
    return json.dumps(record, sort_keys=True).encode()


def _standard_record(description: Description, outputs: Sequence[Table]) -> bytes:
    """Return standard TFLite metadata for an image model."""
    graph = Table(
        {
            schema.SubGraphMetadata.INPUT_TENSOR_METADATA: [_image_input(description)],
            schema.SubGraphMetadata.OUTPUT_TENSOR_METADATA: list(outputs),
        }
    )
    root = Table(
        {
            schema.ModelMetadata.NAME: description.name,
            schema.ModelMetadata.DESCRIPTION: f"{description.quantization}, by keras-dlcourse",
            schema.ModelMetadata.VERSION: __version__,
            schema.ModelMetadata.SUBGRAPH_METADATA: [graph],
            schema.ModelMetadata.MIN_PARSER_VERSION: MINIMUM_PARSER,
        }
    )
    return pack(root, schema.METADATA_IDENTIFIER)


def _image_input(description: Description) -> Table:
    """Describe the input: the image size, the normalization of pixels, and the resulting range."""
    height, width = description.image_size or (0, 0)
    properties = Table(
        {
            schema.ImageProperties.COLOR_SPACE: np.int8(
                schema.ColorSpace.RGB if description.channels == 3 else schema.ColorSpace.GRAYSCALE
            ),
            schema.ImageProperties.DEFAULT_SIZE: Table(
                {
                    schema.ImageSize.WIDTH: np.uint32(width),
                    schema.ImageSize.HEIGHT: np.uint32(height),
                }
            ),
        }
    )
    normalization = description.input_normalization or Normalization.identity()
    options = Table(
        {
            schema.NormalizationOptions.MEAN: list(normalization.mean),
            schema.NormalizationOptions.STD: list(normalization.std),
        }
    )
    bounds = (
        [float(v) for v in normalization(np.full(len(normalization.mean), level))]
        for level in (0, 255)
    )
    low, high = bounds
    return Table(
        {
            schema.TensorMetadata.NAME: "image",
            schema.TensorMetadata.DESCRIPTION: (
                "The image to embed."
                if description.outputs[0].kind == "embedding"
                else "The image to classify."
            ),
            schema.TensorMetadata.CONTENT: describe_content(
                schema.ContentProperties.IMAGE, properties
            ),
            schema.TensorMetadata.PROCESS_UNITS: [
                process_unit(schema.ProcessUnitOptions.NORMALIZATION, options)
            ],
            schema.TensorMetadata.STATS: Table({schema.Stats.MAX: high, schema.Stats.MIN: low}),
        }
    )
