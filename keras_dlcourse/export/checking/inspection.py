"""Inspect a `.tflite` file: operators with versions, tensors, float islands, sizes of its parts."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from keras_dlcourse.edge.description.layouts import (
    BOX_LAYOUTS,
    DETECTION,
    SEGMENTATION,
    BoxLayout,
    DetectionLayout,
    Layout,
)
from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.edge.tflite.graph import Operator, Tensor
from keras_dlcourse.edge.tflite.metadata import (
    CATEGORY,
    CLASS_MAP,
    COUNT,
    EMBEDDING,
    LOCATION,
    SCORE,
)
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.export.writing.input import Input
from keras_dlcourse.export.writing.output import KIND_NAMES, Output

# Conversions between float and integers: they border an integer graph and are not islands.
_BORDER = {"QUANTIZE", "DEQUANTIZE"}
_FLOATS = {"float16", "float32", "float64", "bfloat16"}
_INTEGERS = {"int8", "uint8", "int16"}
# The outputs of a detector by their names in the standard metadata.
_DETECTOR_KINDS = {
    LOCATION: DETECTION,
    CATEGORY: "detection_classes",
    SCORE: "detection_scores",
    COUNT: "detection_count",
}


@dataclass(frozen=True)
class TensorRow:
    """A tensor as shown in the table.

    Attributes:
        index: Index of the tensor.
        name: Name of the tensor.
        shape: Shape of the tensor, -1 for a dynamic size.
        dtype: Data type of the tensor.
        role: `"input"`, `"output"`, `"constant"` or `"activation"`.
        bytes: Size of a constant's values in the file.
        scale: Quantization step, the largest one if quantized per channel; None for floats.
        zero_point: The stored integer that represents 0; None for floats.
        channels: Number of scales: 0 for floats, 1 if quantized per tensor.
        position: Index among the inputs or outputs; None for other tensors.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    role: str
    bytes: int
    scale: float | None
    zero_point: int | None
    channels: int
    position: int | None = None


@dataclass(frozen=True)
class Inspection:
    """Result of `inspect`. It prints as tables.

    Attributes:
        path: Path of the file.
        bytes: Size of the file.
        sizes: Bytes by part: weights, metadata, appended files, graph.
        operators: For each kind of operator, its version and how often it occurs in the graph.
        tensors: All tensors of the graph.
        float_islands: Operators computed in float inside an integer graph, with their outputs.
        quantization: Quantization scheme, if recorded in the file.
        inputs: The inputs of the file, in order.
        outputs: The outputs of the file, in order.
        normalization: The normalization of pixels for a float input, or None.
        min_runtime_version: The oldest TensorFlow Lite version that is recorded as able to run it.
        created_with: Versions of the packages that created it, if recorded in the file.
    """

    path: str
    bytes: int
    sizes: dict[str, int]
    operators: dict[str, tuple[int, int]]
    tensors: tuple[TensorRow, ...]
    float_islands: tuple[str, ...]
    quantization: str | None
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    normalization: Normalization | None
    min_runtime_version: str
    created_with: dict[str, str]

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Class names of the first output that has any, or None."""
        return next((one.labels for one in self.outputs if one.labels is not None), None)

    @property
    def score_thresholds(self) -> tuple[float, ...] | None:
        """For each class, the minimum score at which it counts as present, or None."""
        given = (one.score_thresholds for one in self.outputs)
        return next((one for one in given if one is not None), None)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return asdict(self) | {"labels": self.labels, "score_thresholds": self.score_thresholds}

    def __str__(self) -> str:
        from keras_dlcourse._tables import text_table

        ends = [row for row in self.tensors if row.position is not None]
        ends.sort(key=lambda row: (row.role, row.position))
        parts = [
            self._summary(),
            text_table(
                ["", "tensor", "shape", "type", "scale", "zero point"],
                [
                    [row.role, row.name, _shape(row.shape), row.dtype, row.scale, row.zero_point]
                    for row in ends
                ],
            ),
            text_table(
                ["operator", "version", "times"],
                [[name, version, count] for name, (version, count) in self.operators.items()],
            ),
            text_table(["part", "bytes"], list(self.sizes.items())),
        ]
        return "\n\n".join(parts)

    def tensor_table(self) -> str:
        """Return a table of all tensors."""
        from keras_dlcourse._tables import text_table

        return text_table(
            ["", "tensor", "shape", "type", "role", "bytes", "scale", "zero point", "scales"],
            [
                [row.index, row.name, _shape(row.shape), row.dtype, row.role, row.bytes,
                 row.scale, row.zero_point, row.channels]
                for row in self.tensors
            ],
            width=140,
        )  # fmt: skip

    def _summary(self) -> str:
        """Return the lines above the tables."""
        integer = any(row.dtype in _INTEGERS for row in self.tensors if row.role == "activation")
        lines = [
            f"{self.path}: {self.bytes:,} bytes, "
            f"{self.quantization or 'quantization not recorded'}",
            *(f"input {one.name}: {one.kind}" for one in self.inputs if one.name and one.kind),
            *(_format_output(one) for one in self.outputs),
            f"normalization: {_normalization(self.normalization)}",
            f"oldest runtime: {self.min_runtime_version or 'not recorded'}",
        ]
        if self.created_with:
            made = ", ".join(f"{name} {version}" for name, version in self.created_with.items())
            lines.append(f"created with: {made}")
        if self.float_islands:
            lines.append(f"float islands: {', '.join(self.float_islands)}")
        elif integer and any(one.kind == "detection_classes" for one in self.outputs):
            lines.append("float islands: none; what follows the integers chooses among boxes")
        elif integer:
            lines.append("float islands: none, every operator computes in integers")
        return "\n".join(lines)


def inspect(path: str | os.PathLike[str]) -> Inspection:
    """Read a `.tflite` file and list its contents; no runtime is needed.

    Args:
        path: The file, from any source.

    Returns:
        An `Inspection`; `print` it to see tables.

    Raises:
        keras_dlcourse.edge.InvalidModel: If the file is not a `.tflite` file, or is damaged.
        OSError: If the file cannot be read.

    Example:
        >>> import keras, tempfile
        >>> import keras_dlcourse as kd
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> result = kd.export.to_tflite(model, tempfile.mkdtemp() + "/model.tflite")
        >>> kd.export.inspect(result).operators
        {'FULLY_CONNECTED': (1, 1)}
    """
    file = ModelFile.read(os.fspath(path))
    record = own_record(file)
    counts = Counter((op.name, op.version) for op in file.operators)
    return Inspection(
        path=os.fspath(path),
        bytes=len(file.content),
        sizes=dict(file.sizes),
        operators={name: (version, count) for (name, version), count in counts.items()},
        tensors=tuple(_row(file, tensor) for tensor in file.tensors),
        float_islands=float_islands(file),
        quantization=record.get("quantization"),
        inputs=read_inputs(file),
        outputs=read_outputs(file),
        normalization=file.metadata.normalization,
        min_runtime_version=file.min_runtime_version,
        created_with=record.get("created_with", {}),
    )


def float_islands(file: ModelFile) -> tuple[str, ...]:
    """Return the operators that compute in float inside an integer graph.

    A float island costs a conversion on each side, and integer-only accelerators cannot run it. A
    graph without integer activations has none; what chooses among the boxes of a detector, behind
    its integers, is not one.

    Args:
        file: A file that has been read.

    Returns:
        Name and output of each, e.g. `"ELU (model/elu/Elu)"`.
    """
    operators = file.operators
    if file.metadata.has_nms:  # the tail that chooses among boxes does not return to integers
        operators = _before_integers(file)
    outputs = [(op, file.tensors[index]) for op in operators for index in op.outputs]
    if not any(tensor.dtype in _INTEGERS for op, tensor in outputs if op.name not in _BORDER):
        return ()
    return tuple(
        f"{op.name} ({tensor.name})"
        for op, tensor in outputs
        if op.name not in _BORDER and tensor.dtype in _FLOATS
    )


def _before_integers(file: ModelFile) -> tuple[Operator, ...]:
    """Return the operators whose outputs are integers or lead to some."""
    leading: set[int] = set()
    found = []
    for operator in reversed(file.operators):
        makes = any(
            index in leading or file.tensors[index].dtype in _INTEGERS for index in operator.outputs
        )
        if makes:
            leading.update(operator.inputs)
            found.append(operator)
    return tuple(reversed(found))


def read_outputs(file: ModelFile) -> tuple[Output, ...]:
    """Return the outputs of a file, as far as it describes them; others count as scores."""
    metadata, tensors = file.metadata, file.outputs
    described = (*metadata.outputs, *[""] * len(tensors))[: len(tensors)]
    record = _list_records(file, "outputs", len(tensors)) or _guess_outputs(file, described)
    return tuple(
        Output(
            name=one["name"],
            kind=one["kind"] if one["kind"] in KIND_NAMES else "numbers",  # of a later version
            shape=tensor.shape[1:],
            layout=_find_layout(file, one["kind"], described[number]),
            labels=metadata.output_labels.get(described[number])
            if number or metadata.is_detector
            else metadata.labels,
            score_thresholds=metadata.score_thresholds
            if one["kind"] == "detection_scores" or not (number or metadata.is_detector)
            else None,
        )
        for number, (one, tensor) in enumerate(zip(record, tensors, strict=True))
    )


def _find_layout(file: ModelFile, kind: str, name: str) -> Layout | None:
    """Return the layout of an output from the standard metadata."""
    metadata = file.metadata
    if kind == SEGMENTATION:
        return metadata.mask
    if kind == DETECTION and metadata.detection is not None:
        return metadata.detection
    return metadata.places.get(name)


def _guess_outputs(file: ModelFile, described: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return names and kinds of outputs by the standard metadata of a file."""
    metadata = file.metadata
    has_maps = described[1:2] == (CLASS_MAP,)
    several = bool(metadata.places) or len(file.outputs) > 1 + has_maps
    kinds = dict.fromkeys(metadata.boxes, "box") | dict.fromkeys(metadata.keypoints, "keypoints")
    kinds |= {} if several else {EMBEDDING: "embedding"}
    if metadata.is_detector:
        return [
            {"name": name, "kind": _DETECTOR_KINDS.get(known, "numbers")}
            for name, known in zip(file.output_names, described, strict=True)
        ]
    other = "scores" if metadata.mask is None else SEGMENTATION
    record = [
        {"name": name if several else "", "kind": kinds.get(known, other)}
        for name, known in zip(file.output_names, described, strict=True)
    ]
    if has_maps:
        record[1] = {"name": CLASS_MAP, "kind": "class_map"}
    return record


def read_inputs(file: ModelFile) -> tuple[Input, ...]:
    """Return the inputs of a file, as far as it describes them.

    Their shapes are those in the Keras model.
    """
    several = len(file.inputs) > 1
    record = _list_records(file, "inputs", len(file.inputs))
    if record is None:  # files of earlier versions have one input, described by the record itself
        record = [{}] * len(file.inputs) if several else [own_record(file)]
    names = file.input_names if several else ("",)
    return tuple(
        _read_input(name, tensor, one)
        for name, tensor, one in zip(names, file.inputs, record, strict=True)
    )


def _list_records(file: ModelFile, ends: str, count: int) -> list[dict[str, Any]] | None:
    """Return what this package recorded about the inputs or outputs; None without a record."""
    record = own_record(file).get(ends)
    return record if isinstance(record, list) and len(record) == count else None


def _read_input(name: str, tensor: Tensor, record: Mapping[str, Any]) -> Input:
    """Return one input from its tensor and its record."""
    normalization = record.get("normalization")
    rgb = bool(record.get("rgb"))
    return Input(
        name=name,
        kind=record.get("kind", ""),
        shape=(*tensor.shape[1:-1], 1) if rgb else tensor.shape[1:],
        dtype=tensor.dtype,
        normalization=Normalization.from_dict(normalization) if normalization else None,
        rgb=rgb,
    )


def _format_output(output: Output) -> str:
    """Return the lines that describe an output."""
    parts = [f"output {output.name}: {output.kind}"] if output.name else []
    if output.labels is not None:
        parts.append(f"labels: {len(output.labels)}: {first_labels(output.labels)}")
    elif not output.name:
        parts.append("labels: none")
    parts += [] if output.layout is None else _describe_layout(output.layout)
    least = output.score_thresholds
    thresholds = "" if least is None else f"\nscore thresholds: {_format_range(least)}"
    return ", ".join(parts) + thresholds


def _describe_layout(layout: Layout) -> list[str]:
    """Return what the values of boxes mean; nothing of other layouts, whose outputs name it."""
    if isinstance(layout, DetectionLayout):
        sizes = np.array(layout.anchors)[:, 2:]
        scales = ", ".join(f"{scale:g}" for scale in layout.scales)
        return [
            f"y, x, height, width relative to {len(sizes):,} anchors of {sizes.min():.3g} to "
            f"{sizes.max():.3g} of the image, times {scales}"
        ]
    if isinstance(layout, BoxLayout):
        unit = "pixels of the input" if layout.in_pixels else "fractions of the image"
        named = [name for name, one in BOX_LAYOUTS.items() if one == layout]
        return named or [f"{layout.kind} in the order {layout.index}, in {unit}"]
    return []


def own_record(file: ModelFile) -> dict[str, Any]:
    """Return what this package recorded in the file; empty for files from elsewhere."""
    try:
        record = json.loads(file.metadata.extra.get("keras_dlcourse", b"{}"))
    except ValueError:  # another tool's entry, or a damaged one: no reason to reject the file
        return {}
    return record if isinstance(record, dict) else {}


def _row(file: ModelFile, tensor: Tensor) -> TensorRow:
    role, position = _role(file, tensor)
    return TensorRow(
        index=tensor.index,
        name=tensor.name,
        shape=tensor.shape_signature,
        dtype=tensor.dtype,
        role=role,
        position=position,
        bytes=len(tensor.data),
        scale=max(tensor.scales, default=None),
        zero_point=tensor.zero_points[0] if tensor.zero_points else None,
        channels=len(tensor.scales),
    )


def _role(file: ModelFile, tensor: Tensor) -> tuple[str, int | None]:
    for role, tensors in (("input", file.inputs), ("output", file.outputs)):
        indices = [other.index for other in tensors]
        if tensor.index in indices:
            return role, indices.index(tensor.index)
    return ("constant" if tensor.is_constant else "activation"), None


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join("?" if size < 0 else str(size) for size in shape) or "scalar"


def _format_range(values: tuple[float, ...]) -> str:
    return f"{len(values)}, from {min(values):.3g} to {max(values):.3g}"


def first_labels(labels: tuple[str, ...], most: int = 5) -> str:
    """Return the first few labels."""
    return ", ".join(labels[:most]) + (", …" if len(labels) > most else "")


def _normalization(normalization: Normalization | None) -> str:
    if normalization is None:
        return "not recorded"
    return f"mean {normalization.mean}, standard deviation {normalization.std}"
