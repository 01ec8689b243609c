"""The graphs of a `.tflite` file: tensors and operators, checked before a runtime sees them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from keras_dlcourse.edge import schema
from keras_dlcourse.edge.flatbuffer import InvalidModel, Table
from keras_dlcourse.edge.operators import ADDING, can_add, fault, is_scale, needs_scale
from keras_dlcourse.edge.options import read_options

# Larger tensors are refused: no classifier has them, but a damaged shape easily does.
_LARGEST = 1 << 31
_STORED_RANGE = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}


@dataclass(frozen=True)
class Tensor:
    """A tensor of a graph.

    Attributes:
        index: Its number in the graph.
        name: Its name.
        shape: Its shape; 1 where a size is open.
        shape_signature: Its shape with -1 where a size is open.
        dtype: Type of the stored numbers as NumPy calls it, e.g. `"int8"`; `"int4"`, `"string"`
            and the like for types that NumPy does not have.
        scales: Size of a quantization step: none, one, or one per channel.
        zero_points: The stored number that stands for 0, as many as scales.
        quantized_dimension: The axis of the channels, for one scale per channel.
        buffer: Number of the buffer with its values.
        data: The values of a constant, little-endian; empty for others.
        is_variable: Whether it keeps its values from call to call.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    shape_signature: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    quantized_dimension: int
    buffer: int
    data: memoryview = field(repr=False)
    is_variable: bool

    @property
    def is_constant(self) -> bool:
        """Whether its values stand in the file."""
        return len(self.data) > 0

    @property
    def size(self) -> int:
        """The number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Operator:
    """A step of a graph.

    Attributes:
        name: Name of the operator, e.g. `"CONV_2D"`; of a custom one, its own name.
        version: The version of the operator that a runtime must know.
        inputs: Numbers of the tensors it reads; -1 where an optional one is left out.
        outputs: Numbers of the tensors it writes.
        custom: Whether a runtime must be told about it, as Flex operators.
    """

    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    custom: bool


@dataclass(frozen=True)
class Graph:
    """A graph of the file; the first is the one that runs.

    Attributes:
        name: Its name.
        tensors: All tensors.
        operators: All steps, in the order in which they run.
        inputs: The tensors that the caller fills.
        outputs: The tensors that the caller gets.
    """

    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class OperatorKind(NamedTuple):
    """What operators of a kind share."""

    name: str
    version: int
    custom: bool


class GraphReader:
    """Reads the graphs of one file.

    Args:
        what: What errors call the file.
        kinds: The kinds of operators in it.
        buffers: The values of its constants.
    """

    def __init__(self, what: str, kinds: list[OperatorKind], buffers: list[memoryview]) -> None:
        self._what = what
        self._kinds = kinds
        self._buffers = buffers

    def read(self, table: Table) -> Graph:
        """Return a graph.

        Raises:
            InvalidModel: If something in it does not fit together.
        """
        slots = schema.SubGraph
        tensors = [self._tensor(i, t) for i, t in enumerate(table.tables(slots.TENSORS))]
        count = len(tensors)
        operators = [self._operator(t, count) for t in table.tables(slots.OPERATORS)]
        inputs = table.numbers(slots.INPUTS, "i")
        outputs = table.numbers(slots.OUTPUTS, "i")
        self._check_indices("a graph's inputs or outputs", (*inputs, *outputs), count)
        for tensor in tensors:
            self._check_tensor(tensor)
        for operator in operators:
            self._check_scales(operator, tensors)
        self._check_order(tensors, operators, inputs, outputs)
        return Graph(
            name=table.string(slots.NAME),
            tensors=tuple(tensors),
            operators=tuple(operators),
            inputs=tuple(tensors[i] for i in inputs),
            outputs=tuple(tensors[i] for i in outputs),
        )

    def _tensor(self, index: int, table: Table) -> Tensor:
        slots = schema.Tensor
        code = table.number(slots.TYPE, "b")
        if not 0 <= code < len(schema.TENSOR_TYPES):
            raise self._damaged(f"tensor {index} has the unknown type {code}")
        buffer = table.number(slots.BUFFER, "I")
        self._check_indices(f"tensor {index}'s buffer", (buffer,), len(self._buffers))
        if table.number(slots.EXTERNAL_BUFFER, "I"):
            raise InvalidModel(f"{self._what} keeps its weights in another file; give a whole one")
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
        bits = schema.TENSOR_TYPES[code][1]
        # Sparse tensors keep only some of their values, strings are of any length.
        if not _is_sparse(table) and tensor.is_constant and bits:
            self._check_constant(tensor, bits)
        for variant in table.tables(slots.VARIANT_TENSORS):
            variant.numbers(schema.VariantTensor.SHAPE, "i")
        return tensor

    def _quantization(
        self, index: int, table: Table | None, shape: tuple[int, ...], dtype: str
    ) -> tuple[tuple[float, ...], tuple[int, ...], int]:
        """Return scales, zero points and the axis of channels."""
        if table is None:
            return (), (), 0
        slots = schema.Quantization
        for slot in (slots.MIN, slots.MAX):
            table.numbers(slot, "f")  # only followed, as runtimes may
        details = table.table(slots.DETAILS)
        if details is not None:
            details.data(schema.CustomQuantization.CUSTOM)
        scales = table.numbers(slots.SCALE, "f")
        zero_points = table.numbers(slots.ZERO_POINT, "q")
        axis = table.number(slots.QUANTIZED_DIMENSION, "i")
        if not scales:
            return (), (), 0
        if not all(is_scale(scale, dtype) for scale in scales):
            raise self._damaged(f"tensor {index} has a scale that no runtime can divide by")
        if len(scales) > 1 and table.number(slots.DETAILS_TYPE, "B") == 0:
            channels = shape[axis] if 0 <= axis < len(shape) else None
            if channels != len(scales):
                raise self._damaged(
                    f"tensor {index} of shape {shape} has {len(scales)} scales along axis {axis}"
                )
        if len(zero_points) not in (0, 1, len(scales)):
            raise self._damaged(
                f"tensor {index} has {len(scales)} scales but {len(zero_points)} zero points"
            )
        low, high = _STORED_RANGE.get(dtype, (-(1 << 63), 1 << 63))
        if not all(low <= point <= high for point in zero_points):
            raise self._damaged(f"tensor {index} has a zero point that is no {dtype}")
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
            raise self._damaged(found)
        if not kind.custom:
            read_options(kind.name, table, self._damaged)
        table.data(slots.CUSTOM_OPTIONS)
        table.data(slots.MUTATING_VARIABLE_INPUTS)
        return Operator(kind.name, kind.version, inputs, outputs, kind.custom)

    def _check_tensor(self, tensor: Tensor) -> None:
        if any(length < 0 for length in tensor.shape) or tensor.size > _LARGEST:
            raise self._damaged(f"tensor {tensor.index} has the shape {tensor.shape}")
        signature = tensor.shape_signature
        if len(signature) != len(tensor.shape) or any(length < -1 for length in signature):
            raise self._damaged(
                f"tensor {tensor.index} of shape {tensor.shape} has the signature {signature}"
            )

    def _check_scales(self, operator: Operator, tensors: list[Tensor]) -> None:
        for index in (*operator.inputs, *operator.outputs):
            tensor = tensors[index]
            if index != -1 and not tensor.scales and needs_scale(operator.name, tensor.dtype):
                raise self._damaged(f"tensor {index} of {operator.name} lacks its scale")
        if operator.name in ADDING:
            scales = [tensors[i].scales for i in (*operator.inputs[:2], operator.outputs[0])]
            if all(scales) and not can_add([scales[0][0], scales[1][0]], scales[2][0]):
                raise self._damaged(f"the scales of {operator.name} are {scales}")

    def _check_constant(self, tensor: Tensor, bits: int) -> None:
        expected = (tensor.size * bits + 7) // 8
        if any(length < 0 for length in tensor.shape) or len(tensor.data) != expected:
            raise self._damaged(
                f"tensor {tensor.index}, {tensor.dtype} of shape {tensor.shape}, has "
                f"{len(tensor.data)} bytes of values"
            )

    def _check_order(
        self,
        tensors: list[Tensor],
        operators: list[Operator],
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
    ) -> None:
        """Raise unless each tensor is filled once, before it is read, and constants never."""
        constant = {t.index for t in tensors if t.is_constant}
        filled = {t.index for t in tensors if t.is_variable or t.size == 0} | constant | {*inputs}
        written = constant | {*inputs}
        for operator in operators:
            self._check_filled(operator.name, operator.inputs, filled)
            for index in operator.outputs:
                if index in written:
                    raise self._damaged(f"{operator.name} writes to tensor {index}, which is taken")
                written.add(index)
                filled.add(index)
        self._check_filled("the caller", outputs, filled)

    def _check_filled(self, reader: str, indices: Iterable[int], filled: set[int]) -> None:
        for index in indices:
            if index != -1 and index not in filled:
                raise self._damaged(f"{reader} reads tensor {index}, which nothing has filled")

    def _check_indices(
        self, owner: str, indices: Iterable[int], count: int, lowest: int = 0
    ) -> None:
        for index in indices:
            if not lowest <= index < count:
                raise self._damaged(f"{owner}: number {index} of {count}")

    def _damaged(self, finding: str) -> InvalidModel:
        return InvalidModel(f"{self._what} is damaged: {finding}")


def _is_sparse(tensor: Table) -> bool:
    """Return whether a tensor keeps only some of its values, after a walk through how it does."""
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
