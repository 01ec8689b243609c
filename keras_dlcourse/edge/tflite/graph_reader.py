"""Read the graphs of a `.tflite` file, checking each part before a runtime sees it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from keras_dlcourse.edge.tflite import schema
from keras_dlcourse.edge.tflite.flatbuffer import InvalidModel, Table
from keras_dlcourse.edge.tflite.graph import Graph, Operator, Tensor
from keras_dlcourse.edge.tflite.graph_checks import find_faults
from keras_dlcourse.edge.tflite.operator_options import read_options
from keras_dlcourse.edge.tflite.operators import fault, is_scale

_STORED_RANGE = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}


class OperatorKind(NamedTuple):
    """Properties shared by all operators of a kind."""

    name: str
    version: int
    custom: bool


class GraphReader:
    """Reads the graphs of one file.

    Args:
        what: Name of the file, used in error messages.
        kinds: Kinds of operators in the file.
        buffers: Values of its constants.
    """

    def __init__(self, what: str, kinds: list[OperatorKind], buffers: list[memoryview]) -> None:
        self._what = what
        self._kinds = kinds
        self._buffers = buffers

    def read(self, table: Table) -> Graph:
        """Return a graph.

        Raises:
            InvalidModel: If it is inconsistent.
        """
        slots = schema.SubGraph
        tensors = [self._tensor(i, t) for i, t in enumerate(table.tables(slots.TENSORS))]
        count = len(tensors)
        operators = [self._operator(t, count) for t in table.tables(slots.OPERATORS)]
        inputs = table.numbers(slots.INPUTS, "i")
        outputs = table.numbers(slots.OUTPUTS, "i")
        self._check_indices("a graph's inputs or outputs", (*inputs, *outputs), count)
        graph = Graph(
            name=table.string(slots.NAME),
            tensors=tuple(tensors),
            operators=tuple(operators),
            inputs=tuple(tensors[i] for i in inputs),
            outputs=tuple(tensors[i] for i in outputs),
        )
        for finding in find_faults(graph):
            raise self._damage_error(finding)
        return graph

    def _tensor(self, index: int, table: Table) -> Tensor:
        slots = schema.Tensor
        code = table.number(slots.TYPE, "b")
        if not 0 <= code < len(schema.TENSOR_TYPES):
            raise self._damage_error(f"tensor {index} has the unknown type {code}")
        buffer = table.number(slots.BUFFER, "I")
        self._check_indices(f"tensor {index}'s buffer", (buffer,), len(self._buffers))
        if table.number(slots.EXTERNAL_BUFFER, "I"):
            raise InvalidModel(
                f"{self._what} stores its weights in another file. Pass a self-contained file."
            )
        shape = table.numbers(slots.SHAPE, "i")
        scales, zero_points, axis = self._quantization(
            index, table.table(slots.QUANTIZATION), shape, schema.TENSOR_TYPES[code][0]
        )
        tensor = Tensor(
            index=index,
            name=table.string(slots.NAME),
            shape=shape,
            shape_signature=table.numbers(slots.SHAPE_SIGNATURE, "i") or shape,
            dtype=schema.TENSOR_TYPES[code][0],
            scales=scales,
            zero_points=zero_points,
            quantized_dimension=axis,
            buffer=buffer,
            data=self._buffers[buffer],
            is_variable=bool(table.number(slots.IS_VARIABLE, "B")),
        )
        # Sparse tensors store only some of their values, and strings have any length.
        if not _is_sparse(table) and tensor.is_constant and schema.TENSOR_TYPES[code][1]:
            self._check_constant(tensor)
        for variant in table.tables(slots.VARIANT_TENSORS):
            variant.numbers(schema.VariantTensor.SHAPE, "i")
        return tensor

    def _quantization(
        self, index: int, table: Table | None, shape: tuple[int, ...], dtype: str
    ) -> tuple[tuple[float, ...], tuple[int, ...], int]:
        """Return the scales, the zero points and the channel axis."""
        if table is None:
            return (), (), 0
        slots = schema.Quantization
        for slot in (slots.MIN, slots.MAX):
            table.numbers(slot, "f")  # only checked, as runtimes may read them
        details = table.table(slots.DETAILS)
        if details is not None:
            details.data(schema.CustomQuantization.CUSTOM)
        scales = table.numbers(slots.SCALE, "f")
        zero_points = table.numbers(slots.ZERO_POINT, "q")
        axis = table.number(slots.QUANTIZED_DIMENSION, "i")
        if not scales:
            return (), (), 0
        if not all(is_scale(scale, dtype) for scale in scales):
            raise self._damage_error(f"tensor {index} has a scale that runtimes cannot divide by")
        if len(scales) > 1 and table.number(slots.DETAILS_TYPE, "B") == 0:
            channels = shape[axis] if 0 <= axis < len(shape) else None
            if channels != len(scales):
                raise self._damage_error(
                    f"tensor {index} of shape {shape} has {len(scales)} scales along axis {axis}"
                )
        if len(zero_points) not in (0, 1, len(scales)):
            raise self._damage_error(
                f"tensor {index} has {len(scales)} scales but {len(zero_points)} zero points"
            )
        low, high = _STORED_RANGE.get(dtype, (-(1 << 63), 1 << 63))
        if not all(low <= point <= high for point in zero_points):
            raise self._damage_error(
                f"tensor {index} has a zero point outside the range of {dtype}"
            )
        if len(zero_points) < len(scales):
            zero_points = (zero_points or (0,)) * len(scales)
        return scales, zero_points, axis

    def _operator(self, table: Table, tensors: int) -> Operator:
        slots = schema.Operator
        code = table.number(slots.OPCODE_INDEX, "I")
        self._check_indices("an operator's kind", (code,), len(self._kinds))
        kind = self._kinds[code]
        inputs = table.numbers(slots.INPUTS, "i")
        outputs = table.numbers(slots.OUTPUTS, "i")
        intermediates = table.numbers(slots.INTERMEDIATES, "i")
        self._check_indices(f"{kind.name}'s inputs", inputs, tensors, lowest=-1)
        self._check_indices(f"{kind.name}'s outputs", outputs, tensors)
        self._check_indices(f"{kind.name}'s intermediates", intermediates, tensors, lowest=-1)
        found = fault(kind.name, kind.custom, inputs, outputs)
        if found:
            raise self._damage_error(found)
        options = () if kind.custom else read_options(kind.name, table, self._damage_error)
        table.data(slots.CUSTOM_OPTIONS)
        table.data(slots.MUTATING_VARIABLE_INPUTS)
        return Operator(kind.name, kind.version, inputs, outputs, kind.custom, options)

    def _check_constant(self, tensor: Tensor) -> None:
        if any(length < 0 for length in tensor.shape) or len(tensor.data) != tensor.bytes:
            raise self._damage_error(
                f"tensor {tensor.index}, {tensor.dtype} of shape {tensor.shape}, has "
                f"{len(tensor.data)} bytes of values"
            )

    def _check_indices(
        self, owner: str, indices: Iterable[int], count: int, lowest: int = 0
    ) -> None:
        for index in indices:
            if not lowest <= index < count:
                raise self._damage_error(f"{owner}: index {index} is out of range for {count}")

    def _damage_error(self, finding: str) -> InvalidModel:
        return InvalidModel(f"{self._what} is damaged: {finding}")


def _is_sparse(tensor: Table) -> bool:
    """Return whether a tensor is sparse, after checking its sparsity parameters."""
    sparsity = tensor.table(schema.Tensor.SPARSITY)
    if sparsity is None:
        return False
    slots = schema.Sparsity
    sparsity.numbers(slots.TRAVERSAL_ORDER, "i")
    sparsity.numbers(slots.BLOCK_MAP, "i")
    for dimension in sparsity.tables(slots.DIMENSIONS):
        for kind, vector in schema.SparseDimension.VECTORS:
            code = schema.SparseVector.CODES.get(dimension.number(kind, "B"))
            table = dimension.table(vector)
            if table is not None and code is not None:
                table.numbers(schema.SparseVector.VALUES, code)
    return True
