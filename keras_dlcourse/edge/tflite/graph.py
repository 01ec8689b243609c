"""Graphs of a `.tflite` file: tensors and operators."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from keras_dlcourse.edge.tflite import schema

_BITS = dict(schema.TENSOR_TYPES)


@dataclass(frozen=True)
class Tensor:
    """A tensor of a graph.

    Attributes:
        index: Index in the graph.
        name: Name of the tensor.
        shape: Shape with 1 for variable sizes.
        shape_signature: Shape with -1 for variable sizes.
        dtype: NumPy name of the stored type, e.g. `"int8"`; for types that NumPy does not have,
            names such as `"int4"` and `"string"`.
        scales: Sizes of a quantization step: none, one, or one per channel.
        zero_points: Stored values that represent 0, as many as scales.
        quantized_dimension: Axis of the channels, if there is one scale per channel.
        buffer: Index of the buffer with its values.
        data: Values of a constant, little-endian; empty for other tensors.
        is_variable: Whether it keeps its values between calls.
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
        """Whether its values are stored in the file."""
        return len(self.data) > 0

    @property
    def size(self) -> int:
        """The number of values."""
        return math.prod(self.shape)

    @property
    def bits(self) -> int:
        """Bits per value; 0 for types without a fixed size, such as strings."""
        return _BITS[self.dtype]

    @property
    def bytes(self) -> int:
        """Bytes of all values; 0 for types without a fixed size, such as strings."""
        return (self.size * self.bits + 7) // 8


@dataclass(frozen=True)
class Operator:
    """A step of a graph.

    Attributes:
        name: Name of the operator, e.g. `"CONV_2D"`, or the name of a custom operator.
        version: Version of the operator that a runtime must support.
        inputs: Indices of the tensors it reads; -1 for an omitted optional input.
        outputs: Indices of the tensors it writes.
        custom: Whether it must be registered with the runtime, like Flex operators.
        options: Fields of its options, if `operator_options.read_options` supports the operator.
    """

    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    custom: bool
    options: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Graph:
    """A graph of the file; the first is the one that runs.

    Attributes:
        name: Name of the graph.
        tensors: All tensors.
        operators: All steps, in execution order.
        inputs: The tensors that the caller fills.
        outputs: The tensors that the caller reads.
    """

    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
