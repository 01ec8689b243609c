"""Write standard TFLite metadata and this package's own record into a `.tflite` file.

A file with standard metadata works with MediaPipe Tasks on phones and in browsers, and with
`keras_dlcourse.edge` on boards. Schema: tensorflow/tflite-support, metadata_schema.fbs.
"""

from __future__ import annotations

import importlib.metadata
import io
import json
import zipfile
from dataclasses import asdict, dataclass

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as tflite

from keras_dlcourse._version import __version__
from keras_dlcourse.edge.description.layouts import (
    BOUNDARIES,
    CENTER,
    UPPER_LEFT,
    BoxLayout,
    KeypointLayout,
)
from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.edge.tflite import schema
from keras_dlcourse.edge.tflite.metadata import CLASS_MAP, EMBEDDING, OWN
from keras_dlcourse.export.writing.flatbuffer_writer import Table, pack

LABELS_FILE = "labels.txt"
_BOX_TYPES = {
    BOUNDARIES: schema.BoundingBoxType.BOUNDARIES,
    UPPER_LEFT: schema.BoundingBoxType.UPPER_LEFT,
    CENTER: schema.BoundingBoxType.CENTER,
}
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
        labels: Class names in the order of the outputs, or None.
        quantization: Quantization scheme.
        rgb: Whether a one-channel network converts color images to gray inside its graph.
        keras_hash: SHA-256 of the Keras model's weights.
        class_map: Whether the second output is the class map.
        embedding: Whether the output is a vector to compare instead of class scores.
        outputs: For a file with several outputs, the name of each and the layout of its box or
            keypoints, or None for class scores.
        score_thresholds: For each class, the minimum score at which it counts as present, or None.
    """

    name: str
    image_size: tuple[int, int] | None
    channels: int | None
    input_normalization: Normalization | None
    trained_normalization: Normalization | None
    normalization_in_graph: bool
    labels: tuple[str, ...] | None
    quantization: str
    rgb: bool
    keras_hash: str
    class_map: bool = False
    embedding: bool = False
    outputs: tuple[tuple[str, BoxLayout | KeypointLayout | None], ...] = ()
    score_thresholds: tuple[float, ...] | None = None


def describe_file(content: bytes, description: Description) -> bytes:
    """Return the file with its metadata, and with the labels appended as a zip archive.

    Args:
        content: A `.tflite` file.
        description: The description to write.
    """
    entries = {OWN: _own_record(description)}
    if description.image_size is not None:
        entries[schema.METADATA_NAME] = _standard_record(description)
    content = _add_entries(content, entries)
    if description.labels is None:
        return content
    # Readers find the zip from the end of the file, so it goes last; the model part is unchanged.
    with io.BytesIO() as whole:
        whole.write(content)
        with zipfile.ZipFile(whole, "a", zipfile.ZIP_STORED) as archive:
            entry = zipfile.ZipInfo(
                LABELS_FILE
            )  # dated 1980, so the same model gives the same file
            archive.writestr(entry, "\n".join(description.labels) + "\n")
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
    del record["input_normalization"], record["trained_normalization"], record["outputs"]
    # The standard metadata can describe boxes, but not keypoints.
    record["keypoints"] = {
        name: asdict(layout)
        for name, layout in description.outputs
        if isinstance(layout, KeypointLayout)
    }
    return json.dumps(record, sort_keys=True).encode()


def _standard_record(description: Description) -> bytes:
    """Return standard TFLite metadata for an image model."""
    if description.outputs:
        outputs = [
            _output(*one, description, is_first=number == 0)
            for number, one in enumerate(description.outputs)
        ]
    elif description.embedding:
        outputs = [_embedding_output()]
    else:
        outputs = [_scores_output(description)]
    if description.class_map:
        outputs.append(_map_output())
    graph = Table(
        {
            schema.SubGraphMetadata.INPUT_TENSOR_METADATA: [_image_input(description)],
            schema.SubGraphMetadata.OUTPUT_TENSOR_METADATA: outputs,
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
                "The image to embed." if description.embedding else "The image to classify."
            ),
            schema.TensorMetadata.CONTENT: _content(schema.ContentProperties.IMAGE, properties),
            schema.TensorMetadata.PROCESS_UNITS: [
                _process_unit(schema.ProcessUnitOptions.NORMALIZATION, options)
            ],
            schema.TensorMetadata.STATS: Table({schema.Stats.MAX: high, schema.Stats.MIN: low}),
        }
    )


def _scores_output(description: Description, name: str = "scores") -> Table:
    """Describe the output: one score per class; the class names are in the labels file."""
    files, units = None, None
    if description.score_thresholds is not None:
        # The standard has one threshold for all classes: below the lowest, no class is present.
        least = min(description.score_thresholds)
        options = Table({schema.ScoreThresholdingOptions.GLOBAL_SCORE_THRESHOLD: np.float32(least)})
        units = [_process_unit(schema.ProcessUnitOptions.SCORE_THRESHOLDING, options)]
    if description.labels is not None:
        files = [
            Table(
                {
                    schema.AssociatedFile.NAME: LABELS_FILE,
                    schema.AssociatedFile.DESCRIPTION: "Names of the classes, one a line.",
                    schema.AssociatedFile.TYPE: np.int8(
                        schema.AssociatedFileType.TENSOR_AXIS_LABELS
                    ),
                }
            )
        ]
    return Table(
        {
            schema.TensorMetadata.NAME: name,
            schema.TensorMetadata.DESCRIPTION: "One score for each class.",
            schema.TensorMetadata.CONTENT: _content(schema.ContentProperties.FEATURE, Table()),
            schema.TensorMetadata.PROCESS_UNITS: units,
            schema.TensorMetadata.ASSOCIATED_FILES: files,
        }
    )


def _output(
    name: str,
    layout: BoxLayout | KeypointLayout | None,
    description: Description,
    *,
    is_first: bool,
) -> Table:
    """Describe one of several outputs."""
    if layout is None:  # labels and thresholds are those of the first output
        return _scores_output(description, name) if is_first else _tensor(name, "Values.")
    if isinstance(layout, KeypointLayout):
        return _tensor(name, f"x and y of keypoints, relative to the {layout.relative_to}")
    slots = schema.BoundingBoxProperties
    properties = Table(
        {
            slots.INDEX: [np.uint32(number) for number in layout.index],
            slots.TYPE: np.int8(_BOX_TYPES[layout.kind]),
            slots.COORDINATE_TYPE: np.int8(schema.CoordinateType.RATIO),
        }
    )
    content = _content(schema.ContentProperties.BOUNDING_BOX, properties)
    return _tensor(name, f"A box ({layout.kind}), in shares of the image.", content)


def _embedding_output() -> Table:
    """Describe the output of an embedder: one vector without labels."""
    return _tensor(EMBEDDING, "The embedding: like images, vectors close by.")


def _map_output() -> Table:
    """Describe the second output: where in the image the evidence for each class is."""
    return _tensor(
        CLASS_MAP,
        "Class activation maps: batch, height, width, classes in the order of the scores.",
    )


def _tensor(name: str, text: str, content: Table | None = None) -> Table:
    """Describe an output; without `content`, one of plain numbers."""
    return Table(
        {
            schema.TensorMetadata.NAME: name,
            schema.TensorMetadata.DESCRIPTION: text,
            schema.TensorMetadata.CONTENT: content
            or _content(schema.ContentProperties.FEATURE, Table()),
        }
    )


def _process_unit(kind: int, options: Table) -> Table:
    """Describe a processing step before or after the graph."""
    return Table(
        {
            schema.ProcessUnit.OPTIONS_TYPE: np.uint8(kind),
            schema.ProcessUnit.OPTIONS: options,
        }
    )


def _content(kind: int, properties: Table) -> Table:
    """Describe what a tensor holds."""
    return Table(
        {
            schema.Content.PROPERTIES_TYPE: np.uint8(kind),
            schema.Content.PROPERTIES: properties,
        }
    )
