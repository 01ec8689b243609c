"""Write standard TFLite metadata and this package's own record into a `.tflite` file.

A file with standard metadata works with MediaPipe Tasks on phones and in browsers, and with
`keras_dlcourse.edge` on boards. Schema: tensorflow/tflite-support, metadata_schema.fbs.
"""

from __future__ import annotations

import importlib.metadata
import io
import json
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as tflite

from keras_dlcourse._version import __version__
from keras_dlcourse.edge.description.layouts import (
    ACTIVATIONS,
    SIGMOID,
    DetectionLayout,
    KeypointLayout,
    MaskLayout,
)
from keras_dlcourse.edge.description.suppression import NonMaxSuppression
from keras_dlcourse.edge.tflite import schema
from keras_dlcourse.edge.tflite.metadata import OWN
from keras_dlcourse.export.writing.flatbuffer_writer import Table, pack
from keras_dlcourse.export.writing.input import Input
from keras_dlcourse.export.writing.output import Output

MINIMUM_PARSER = "1.0.0"  # the oldest reader that supports everything written here
_CUSTOM_PARSER = "1.5.0"  # the same for files with custom metadata


@dataclass(frozen=True)
class Description:
    """The description that a `.tflite` file carries.

    Attributes:
        name: Name of the model.
        quantization: Quantization scheme.
        keras_hash: SHA-256 of the Keras model's weights.
        inputs: The inputs, in the order of the file.
        outputs: The outputs, likewise.
        nms: How the file chooses among boxes that overlap; None if it does not.
    """

    name: str
    quantization: str
    keras_hash: str
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    nms: NonMaxSuppression | None = None


def describe_file(
    content: bytes, description: Description, inputs: Sequence[Table], outputs: Sequence[Table]
) -> bytes:
    """Return the file with its metadata, and with the labels appended as a zip archive.

    Args:
        content: A `.tflite` file.
        description: The description to write.
        inputs: The standard metadata of each input.
        outputs: The same of each output.
    """
    entries = {
        OWN: _own_record(description),
        schema.METADATA_NAME: _standard_record(description, inputs, outputs),
    }
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
    record = {
        "name": description.name,
        "quantization": description.quantization,
        "keras_hash": description.keras_hash,
        "version": __version__,
        "created_with": {
            name: importlib.metadata.version(name) for name in ("tensorflow", "keras")
        },
        "inputs": [_input_record(one) for one in description.inputs],
        "outputs": [{"name": one.name, "kind": one.kind} for one in description.outputs],
        "labels": _first(one.labels for one in description.outputs),
        "score_thresholds": _first(one.score_thresholds for one in description.outputs),
        "nms": None if description.nms is None else asdict(description.nms),
        # The standard metadata can describe boxes, but not keypoints.
        "keypoints": {
            one.name: asdict(one.layout)
            for one in description.outputs
            if isinstance(one.layout, KeypointLayout)
        },
    }
    return json.dumps(record, sort_keys=True).encode()


def _first(values: Iterable[Any]) -> Any:
    """Return the first value that is given, None without one."""
    return next((value for value in values if value is not None), None)


def _input_record(one: Input) -> dict[str, Any]:
    """Return what `read_inputs` needs to know about an input."""
    return {
        "name": one.name,
        "kind": one.kind,
        "normalization": None if one.normalization is None else one.normalization.to_dict(),
        "rgb": one.rgb,
    }


def _standard_record(
    description: Description, inputs: Sequence[Table], outputs: Sequence[Table]
) -> bytes:
    """Return standard TFLite metadata."""
    custom = [
        _CUSTOM[type(one.layout)](one.layout, description.outputs)
        for one in description.outputs
        if type(one.layout) in _CUSTOM
    ]
    graph = Table(
        {
            schema.SubGraphMetadata.INPUT_TENSOR_METADATA: list(inputs),
            schema.SubGraphMetadata.OUTPUT_TENSOR_METADATA: list(outputs),
            schema.SubGraphMetadata.CUSTOM_METADATA: custom or None,
        }
    )
    root = Table(
        {
            schema.ModelMetadata.NAME: description.name,
            schema.ModelMetadata.DESCRIPTION: f"{description.quantization}, by keras-dlcourse",
            schema.ModelMetadata.VERSION: __version__,
            schema.ModelMetadata.SUBGRAPH_METADATA: [graph],
            schema.ModelMetadata.MIN_PARSER_VERSION: _CUSTOM_PARSER if custom else MINIMUM_PARSER,
        }
    )
    return pack(root, schema.METADATA_IDENTIFIER)


def _describe_mask(layout: Any, outputs: Sequence[Output]) -> Table:
    """Return what MediaPipe's ImageSegmenter needs to know."""
    slots = schema.ImageSegmenterOptions
    options = Table(
        {
            slots.ACTIVATION: np.int8(ACTIVATIONS.index(layout.activation)),
            slots.MIN_PARSER_VERSION: MINIMUM_PARSER,
        }
    )
    return _describe_custom(schema.CustomMetadata.SEGMENTER, options)


def _describe_detector(layout: Any, outputs: Sequence[Output]) -> Table:
    """Return what MediaPipe's ObjectDetector needs to know."""
    place, slots = schema.FixedAnchor, schema.TensorsDecodingOptions
    (scores,) = (one for one in outputs if one.layout is None)
    order = (place.X_CENTER, place.Y_CENTER, place.WIDTH, place.HEIGHT)
    anchors = [Table(zip(order, map(np.float32, anchor), strict=True)) for anchor in layout.anchors]
    ways = (slots.Y_SCALE, slots.X_SCALE, slots.H_SCALE, slots.W_SCALE)
    decoding = Table(
        {
            slots.NUM_CLASSES: np.int32(scores.shape[-1] or 0),
            slots.NUM_BOXES: np.int32(len(anchors)),
            slots.NUM_COORDS: np.int32(4),
            slots.NUM_VALUES_PER_KEYPOINT: np.int32(2),
            **dict(zip(ways, map(np.float32, layout.scales), strict=True)),
            slots.APPLY_EXPONENTIAL_ON_BOX_SIZE: np.bool_(True),
            slots.SIGMOID_SCORE: np.bool_(layout.activation == SIGMOID),
        }
    )
    fixed = Table({schema.SsdAnchorsOptions.ANCHORS: anchors})
    options = Table(
        {
            schema.ObjectDetectorOptions.MIN_PARSER_VERSION: MINIMUM_PARSER,
            schema.ObjectDetectorOptions.SSD_ANCHORS_OPTIONS: Table(
                {schema.SsdAnchorsOptions.FIXED_ANCHORS_SCHEMA: fixed}
            ),
            schema.ObjectDetectorOptions.TENSORS_DECODING_OPTIONS: decoding,
        }
    )
    return _describe_custom(schema.CustomMetadata.DETECTOR, options)


def _describe_custom(name: str, options: Table) -> Table:
    """Return the custom metadata of a kind of task."""
    slots = schema.CustomMetadata
    return Table({slots.NAME: name, slots.DATA: pack(options, slots.IDENTIFIER)})


# What MediaPipe needs to know beyond the metadata of single tensors, by the layout of an output.
_CUSTOM = {MaskLayout: _describe_mask, DetectionLayout: _describe_detector}
