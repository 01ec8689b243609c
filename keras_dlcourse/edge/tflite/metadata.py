"""Read the standard TFLite metadata of a `.tflite` file about its inputs and outputs.

Reference: https://ai.google.dev/edge/litert/conversion/tensorflow/metadata and its schema,
metadata_schema.fbs.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from keras_dlcourse.edge.description.labels import parse_labels
from keras_dlcourse.edge.description.layouts import (
    ACTIVATIONS,
    BOUNDARIES,
    CENTER,
    NO_ACTIVATION,
    SIGMOID,
    UPPER_LEFT,
    BoxLayout,
    DetectionLayout,
    KeypointLayout,
    MaskLayout,
)
from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.edge.tflite import schema
from keras_dlcourse.edge.tflite.flatbuffer import InvalidModel, Table

# Name of the output with the maps of all classes.
CLASS_MAP = "class_map"
# Name of the output of an embedder.
EMBEDDING = "embedding"
# Names of the outputs of a detector in its metadata, as MediaPipe has them. Files without the other
# two have a box and scores for each anchor.
LOCATION, CATEGORY, SCORE, COUNT = "location", "category", "score", "number of detections"
# Name of the buffer with our own JSON record.
OWN = "keras_dlcourse"
# Appended files are small, such as label lists; the limit guards against zip bombs.
_LARGEST_FILE = 16 << 20
_LABELS = (
    schema.AssociatedFileType.TENSOR_AXIS_LABELS,
    schema.AssociatedFileType.TENSOR_VALUE_LABELS,
)
_COLOR_SPACES = {schema.ColorSpace.RGB: "RGB", schema.ColorSpace.GRAYSCALE: "GRAYSCALE"}
_BOX_KINDS = {
    schema.BoundingBoxType.BOUNDARIES: BOUNDARIES,
    schema.BoundingBoxType.UPPER_LEFT: UPPER_LEFT,
    schema.BoundingBoxType.CENTER: CENTER,
}
_Value = TypeVar("_Value")
_TRANSFORMATIONS = ("IDENTITY", "LOG", "INVERSE_LOGISTIC")


@dataclass(frozen=True)
class ScoreCalibration:
    """Calibration that makes raw scores comparable across classes.

    `scale / (1 + exp(-(slope * g(x) + offset)))` if the class has parameters and x is not
    below its minimum score, else `default_score`.

    Attributes:
        transformation: g: `"IDENTITY"`, `"LOG"` or `"INVERSE_LOGISTIC"`.
        default_score: The score if the formula does not apply.
        parameters: For each class: scale, slope, offset and minimum score (minus infinity if it
            has none), or None.
    """

    transformation: str
    default_score: float
    parameters: tuple[tuple[float, float, float, float] | None, ...]


@dataclass(frozen=True)
class ModelMetadata:
    """Metadata of a file; None or empty for missing fields.

    Attributes:
        standard: Whether the file has standard TFLite metadata.
        name: Name of the model.
        description: Description of the model.
        version: Version of the model, set by its authors.
        author: Author of the model.
        license: License of the model.
        normalization: The normalization applied to pixels for the first input, if it is an image.
        input_normalizations: The normalizations of all inputs that have one, by input name.
        color_space: `"RGB"`, `"GRAYSCALE"` or None.
        labels: Class names in the order of the first output, or those of a detector.
        score_calibration: The calibration of the scores in the first output.
        score_threshold: The score below which results are not meaningful.
        score_thresholds: Minimum score of each class to count as present.
        outputs: Names of the outputs in order; an empty string for an unnamed output.
        output_labels: Class names of every output that has them, by output name.
        boxes: Layouts of the outputs that are boxes, by output name.
        keypoints: Layouts of the outputs that are keypoints, by output name.
        mask: Layout of the only output if it is a mask; None if the file does not state it.
        detection: Layout of the outputs of a detector that has boxes for all its anchors.
        extra: All named buffers of the file as bytes, including `"keras_dlcourse"`.
    """

    standard: bool = False
    name: str = ""
    description: str = ""
    version: str = ""
    author: str = ""
    license: str = ""
    normalization: Normalization | None = None
    input_normalizations: Mapping[str, Normalization] = field(default_factory=dict)
    color_space: str | None = None
    labels: tuple[str, ...] | None = None
    score_calibration: ScoreCalibration | None = None
    score_threshold: float | None = None
    score_thresholds: tuple[float, ...] | None = None
    outputs: tuple[str, ...] = ()
    output_labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    boxes: Mapping[str, BoxLayout] = field(default_factory=dict)
    keypoints: Mapping[str, KeypointLayout] = field(default_factory=dict)
    mask: MaskLayout | None = None
    detection: DetectionLayout | None = None
    extra: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def places(self) -> dict[str, BoxLayout | KeypointLayout]:
        """Layouts of all box and keypoint outputs, by output name."""
        return {**self.boxes, **self.keypoints}

    @property
    def is_detector(self) -> bool:
        """Whether the outputs are those of an object detector."""
        return {LOCATION, SCORE} <= set(self.outputs)

    @property
    def has_nms(self) -> bool:
        """Whether the file of a detector chooses among its boxes itself."""
        return self.is_detector and CATEGORY in self.outputs


def read_metadata(content: bytes, extra: Mapping[str, bytes], what: str) -> ModelMetadata:
    """Return the metadata of a file.

    Args:
        content: The whole file, which ends in a zip archive if it has appended files.
        extra: Named buffers of the file.
        what: Name of the file, used in error messages.

    Raises:
        InvalidModel: If the metadata is damaged or refers to a missing file.
    """
    standard = extra.get(schema.METADATA_NAME)
    if standard is None:
        return ModelMetadata(extra=extra)
    what = f"the metadata of {what}"
    root = Table.root(standard, schema.METADATA_IDENTIFIER, what)
    graphs = root.tables(schema.ModelMetadata.SUBGRAPH_METADATA)
    graph = graphs[0] if graphs else None
    inputs = _list_tensors(graph, schema.SubGraphMetadata.INPUT_TENSOR_METADATA)
    outputs = _list_tensors(graph, schema.SubGraphMetadata.OUTPUT_TENSOR_METADATA)
    image, scores = next(iter(inputs), None), next(iter(outputs), None)
    files = _Attached(content, what)
    labels = [_labels(output, files) for output in outputs]
    record = _own_record(extra.get(OWN), what)
    return ModelMetadata(
        standard=True,
        name=root.string(schema.ModelMetadata.NAME),
        description=root.string(schema.ModelMetadata.DESCRIPTION),
        version=root.string(schema.ModelMetadata.VERSION),
        author=root.string(schema.ModelMetadata.AUTHOR),
        license=root.string(schema.ModelMetadata.LICENSE),
        normalization=_normalization(image, what),
        input_normalizations=_by_name(inputs, [_normalization(one, what) for one in inputs]),
        color_space=_color_space(image),
        labels=next(iter(labels), None) or _by_name(outputs, labels).get(CATEGORY),
        score_calibration=_score_calibration(scores, files),
        score_threshold=_score_threshold(scores),
        score_thresholds=_score_thresholds(record, what),
        outputs=tuple(map(_name, outputs)),
        output_labels=_by_name(outputs, labels),
        boxes=_boxes(outputs, what),
        keypoints=_keypoints(record, what),
        mask=_mask(graph, what),
        detection=_detection(graph, what),
        extra=extra,
    )


class _Attached:
    """The files in the zip archive at the end of a model."""

    def __init__(self, content: bytes, what: str) -> None:
        self._content = content
        self._what = what

    def text(self, name: str) -> str:
        """Return an appended text file."""
        import zipfile

        try:
            with zipfile.ZipFile(io.BytesIO(self._content)) as archive, archive.open(name) as file:
                data = file.read(_LARGEST_FILE + 1)
        except KeyError:
            raise InvalidModel(f"{self._what} refers to {name!r}, which is not appended") from None
        except MemoryError:
            raise
        except Exception as error:  # zipfile raises many exception types on damaged archives
            raise InvalidModel(
                f"{self._what} refers to {name!r}, which cannot be read from the end of the file; "
                f"the file is damaged or truncated: {error}"
            ) from error
        if len(data) > _LARGEST_FILE:
            raise InvalidModel(f"{self._what} refers to {name!r}, which is larger than 16 MiB")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise InvalidModel(
                f"{self._what} refers to {name!r}, which is not UTF-8 text"
            ) from None


def _list_tensors(graph: Table | None, slot: int) -> list[Table]:
    """Return the metadata of the inputs or outputs of a graph, if any."""
    return graph.tables(slot) if graph is not None else []


def _name(tensor: Table) -> str:
    return tensor.string(schema.TensorMetadata.NAME)


def _by_name(tensors: list[Table], values: list[_Value | None]) -> dict[str, _Value]:
    """Return the value of every tensor that has one, by the tensor's name."""
    pairs = zip(map(_name, tensors), values, strict=True)
    return {name: value for name, value in pairs if value is not None}


def _boxes(outputs: list[Table], what: str) -> dict[str, BoxLayout]:
    """Return the layout of each output that is a box in the standard metadata."""
    found = {}
    for tensor in outputs:
        content = tensor.table(schema.TensorMetadata.CONTENT)
        if content is None:
            continue
        code = content.number(schema.Content.PROPERTIES_TYPE, "B")
        properties = content.table(schema.Content.PROPERTIES)
        if code != schema.ContentProperties.BOUNDING_BOX or properties is None:
            continue
        kind = properties.number(schema.BoundingBoxProperties.TYPE, "b")
        index = properties.numbers(schema.BoundingBoxProperties.INDEX, "I") or (0, 1, 2, 3)
        if kind not in _BOX_KINDS or sorted(index) != [0, 1, 2, 3]:
            raise InvalidModel(f"{what} describes an unknown box kind {kind} or order {index}")
        unit = properties.number(schema.BoundingBoxProperties.COORDINATE_TYPE, "b")
        found[_name(tensor)] = BoxLayout(
            _BOX_KINDS[kind], index, unit == schema.CoordinateType.PIXEL
        )
    return found


def _own_record(record: bytes | None, what: str) -> dict[str, Any]:
    """Return our own record of metadata that the standard does not cover."""
    if record is None:
        return {}
    import json

    try:
        return dict(json.loads(record))
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidModel(f"{what} contains a record that cannot be read") from error


def _keypoints(record: dict[str, Any], what: str) -> dict[str, KeypointLayout]:
    """Return the layout of each output that is keypoints in our own record."""
    try:
        described = record.get("keypoints") or {}
        return {
            name: KeypointLayout(
                one["relative_to"], None if one["names"] is None else tuple(map(str, one["names"]))
            )
            for name, one in described.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidModel(f"{what} contains a keypoint record that cannot be read") from error


def _mask(graph: Table | None, what: str) -> MaskLayout | None:
    """Return the layout of a mask from the custom metadata of a segmenter."""
    options = _custom(graph, schema.CustomMetadata.SEGMENTER, what)
    if options is None:
        return None
    code = options.number(schema.ImageSegmenterOptions.ACTIVATION, "b")
    if not 0 <= code < len(ACTIVATIONS):
        raise InvalidModel(f"{what} describes a mask with the unknown activation {code}")
    return MaskLayout(ACTIVATIONS[code])


def _detection(graph: Table | None, what: str) -> DetectionLayout | None:
    """Return anchors and decoding from the custom metadata of a detector."""
    options = _custom(graph, schema.CustomMetadata.DETECTOR, what)
    if options is None:
        return None
    ssd = options.table(schema.ObjectDetectorOptions.SSD_ANCHORS_OPTIONS)
    fixed = ssd.table(schema.SsdAnchorsOptions.FIXED_ANCHORS_SCHEMA) if ssd else None
    decoding = options.table(schema.ObjectDetectorOptions.TENSORS_DECODING_OPTIONS)
    if fixed is None or decoding is None:
        raise InvalidModel(f"{what} describes a detector without its anchors or their decoding")
    slots, place = schema.TensorsDecodingOptions, schema.FixedAnchor
    order = (place.X_CENTER, place.Y_CENTER, place.WIDTH, place.HEIGHT)
    anchors = [
        tuple(anchor.number(slot, "f", 0.0) for slot in order)
        for anchor in fixed.tables(schema.SsdAnchorsOptions.ANCHORS)
    ]
    order = (slots.Y_SCALE, slots.X_SCALE, slots.H_SCALE, slots.W_SCALE)
    scales = tuple(decoding.number(slot, "f", 0.0) for slot in order)
    has_exponents = decoding.number(slots.APPLY_EXPONENTIAL_ON_BOX_SIZE, "B")
    if not has_exponents or decoding.number(slots.NUM_COORDS, "i") != 4:
        return None  # with keypoints, or another way to decode sizes
    if decoding.number(slots.NUM_BOXES, "i") != len(anchors) or not all(
        math.isfinite(scale) and scale > 0 for scale in scales
    ):
        raise InvalidModel(
            f"{what} describes {decoding.number(slots.NUM_BOXES, 'i')} boxes with the scales "
            f"{scales} for {len(anchors)} anchors: they must be as many, and scales above 0"
        )
    has_logits = decoding.number(slots.SIGMOID_SCORE, "B")
    return DetectionLayout(tuple(anchors), scales, SIGMOID if has_logits else NO_ACTIVATION)


def _custom(graph: Table | None, name: str, what: str) -> Table | None:
    """Return the root of the custom metadata of a kind of task, None if there are none."""
    slots = schema.CustomMetadata
    for custom in graph.tables(schema.SubGraphMetadata.CUSTOM_METADATA) if graph else ():
        if custom.string(slots.NAME) == name:
            return Table.root(custom.data(slots.DATA), slots.IDENTIFIER, what)
    return None


def _score_thresholds(record: dict[str, Any], what: str) -> tuple[float, ...] | None:
    """Return the threshold of each class from our own record."""
    given = record.get("score_thresholds")
    if given is None:
        return None
    if not isinstance(given, list) or not all(map(_is_share, given)):
        raise InvalidModel(f"{what} contains score thresholds that are not numbers from 0 to 1")
    return tuple(map(float, given))


def _is_share(value: Any) -> bool:
    """Whether a JSON value is a number from 0 to 1; false for NaN."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _option(tensor: Table | None, kind: int) -> Table | None:
    """Return the options of the first processing step of the given kind."""
    if tensor is None:
        return None
    for unit in tensor.tables(schema.TensorMetadata.PROCESS_UNITS):
        if unit.number(schema.ProcessUnit.OPTIONS_TYPE, "B") == kind:
            return unit.table(schema.ProcessUnit.OPTIONS)
    return None


def _normalization(image: Table | None, what: str) -> Normalization | None:
    options = _option(image, schema.ProcessUnitOptions.NORMALIZATION)
    if options is None:
        return None
    mean = options.numbers(schema.NormalizationOptions.MEAN, "f")
    std = options.numbers(schema.NormalizationOptions.STD, "f")
    try:
        return Normalization(mean, std)
    except ValueError as error:
        raise InvalidModel(f"{what} contains an invalid normalization: {error}") from error


def _color_space(image: Table | None) -> str | None:
    content = image.table(schema.TensorMetadata.CONTENT) if image is not None else None
    if content is None:
        return None
    kind = content.number(schema.Content.PROPERTIES_TYPE, "B")
    properties = content.table(schema.Content.PROPERTIES)
    if kind != schema.ContentProperties.IMAGE or properties is None:
        return None
    return _COLOR_SPACES.get(properties.number(schema.ImageProperties.COLOR_SPACE, "b"))


def _file_name(tensor: Table | None, *kinds: int) -> str | None:
    """Return the name of the first appended file of the given kinds, preferring no locale."""
    if tensor is None:
        return None
    slots = schema.AssociatedFile
    files = [
        file
        for file in tensor.tables(schema.TensorMetadata.ASSOCIATED_FILES)
        if file.number(slots.TYPE, "b") in kinds
    ]
    files.sort(key=lambda file: file.string(slots.LOCALE) != "")
    return files[0].string(slots.NAME) if files else None


def _labels(scores: Table | None, files: _Attached) -> tuple[str, ...] | None:
    name = _file_name(scores, *_LABELS)
    return None if name is None else parse_labels(files.text(name))


def _score_calibration(scores: Table | None, files: _Attached) -> ScoreCalibration | None:
    options = _option(scores, schema.ProcessUnitOptions.SCORE_CALIBRATION)
    name = _file_name(scores, schema.AssociatedFileType.TENSOR_AXIS_SCORE_CALIBRATION)
    if options is None or name is None:
        return None
    code = options.number(schema.ScoreCalibrationOptions.SCORE_TRANSFORMATION, "b")
    if not 0 <= code < len(_TRANSFORMATIONS):
        raise InvalidModel(f"the score calibration has the unknown transformation {code}")
    return ScoreCalibration(
        transformation=_TRANSFORMATIONS[code],
        default_score=options.number(schema.ScoreCalibrationOptions.DEFAULT_SCORE, "f", 0.0),
        parameters=tuple(map(_parameters, files.text(name).rstrip("\n").split("\n"))),
    )


def _parameters(line: str) -> tuple[float, float, float, float] | None:
    """Return scale, slope, offset and minimum score from a line of the calibration file."""
    if not line.strip():
        return None
    try:
        scale, slope, offset, *least = (float(number) for number in line.split(","))
        (least_score,) = least or [float("-inf")]
    except ValueError:
        raise InvalidModel(
            f"a line of the score calibration must have 0, 3 or 4 numbers. Received: {line!r}"
        ) from None
    return scale, slope, offset, least_score


def _score_threshold(scores: Table | None) -> float | None:
    options = _option(scores, schema.ProcessUnitOptions.SCORE_THRESHOLDING)
    if options is None:
        return None
    return float(options.number(schema.ScoreThresholdingOptions.GLOBAL_SCORE_THRESHOLD, "f"))
