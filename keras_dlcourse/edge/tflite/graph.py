"""The graphs of a `.tflite` file: tensors and operators."""

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

    @property
    def bits(self) -> int:
        """What one value takes; 0 for strings and the like."""
        return _BITS[self.dtype]

    @property
    def bytes(self) -> int:
        """What all values take; 0 for strings and the like."""
        return (self.size * self.bits + 7) // 8


@dataclass(frozen=True)
class Operator:
    """A step of a graph.

    Attributes:
        name: Name of the operator, e.g. `"CONV_2D"`; of a custom one, its own name.
        version: The version of the operator that a runtime must know.
        inputs: Numbers of the tensors it reads; -1 where an optional one is left out.
        outputs: Numbers of the tensors it writes.
        custom: Whether a runtime must be told about it, as Flex operators.
        options: The fields of its options, where `options.read_options` knows them.
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
