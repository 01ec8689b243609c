"""Find inconsistencies between valid parts of a graph; each kind has crashed a runtime.

A check yields one sentence per finding. Shapes in a file may be outdated, and runtimes recompute
them, so checks compare only what every runtime uses unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np

from keras_dlcourse.edge.tflite.graph import Graph, Operator, Tensor
from keras_dlcourse.edge.tflite.operators import (
    ADDING,
    MOVING,
    SIZED_ONLY,
    SUBGRAPH_CALLS,
    can_add,
    needs_scale,
    parts_fault,
)

# Kernels count bytes in 32 bits.
_LARGEST = (1 << 31) - 1


def find_faults(graph: Graph) -> Iterator[str]:
    """Yield the faults of a graph whose indices are all in range."""
    yield from chain.from_iterable(map(_find_tensor_faults, graph.tensors))
    for operator in graph.operators:
        yield from _find_operator_faults(operator, graph.tensors)
    yield from _find_order_faults(graph)


def find_call_faults(graphs: Sequence[Graph]) -> Iterator[str]:
    """Yield the faults of calls from operators to other graphs."""
    calls = [
        {index for o in graph.operators if o.name in SUBGRAPH_CALLS for index in o.options}
        for graph in graphs
    ]
    unknown = set().union(*calls) - set(range(len(graphs)))
    if unknown:
        yield f"it calls graph {min(unknown)}, but has {len(graphs)} graphs"
        return
    reached = set(range(len(graphs)))
    while reached:  # remove graphs that call none of the rest
        left = {index for index in reached if calls[index] & reached}
        if left == reached:
            yield f"graph {min(left)} calls itself"
            return
        reached = left


def working_bytes(graph: Graph) -> int:
    """Return the minimum memory for values: an operator needs its inputs and outputs at once."""
    needs = (
        sum(graph.tensors[i].bytes for i in {*o.inputs, *o.outputs} - {-1} if _is_made(graph, i))
        for o in graph.operators
    )
    return max(needs, default=0)


def _is_made(graph: Graph, index: int) -> bool:
    return not graph.tensors[index].is_constant


def _find_tensor_faults(tensor: Tensor) -> Iterator[str]:
    if any(length < 0 for length in tensor.shape) or tensor.bytes > _LARGEST:
        yield f"tensor {tensor.index} has the invalid shape {tensor.shape}"
    signature = tensor.shape_signature
    if len(signature) != len(tensor.shape) or any(length < -1 for length in signature):
        yield f"tensor {tensor.index} of shape {tensor.shape} has the shape signature {signature}"


def _find_operator_faults(operator: Operator, tensors: Sequence[Tensor]) -> Iterator[str]:
    name = operator.name
    if operator.custom:  # nothing is known about it
        return
    for index in (*operator.inputs, *operator.outputs):
        if index != -1 and not tensors[index].scales and needs_scale(name, tensors[index].dtype):
            yield f"tensor {index} of {name} has no scale"
        if name in SIZED_ONLY and not tensors[index].bits:
            yield f"tensor {index} of {name} has the unsupported type {tensors[index].dtype}"
    if name in ADDING:
        scales = [tensors[i].scales for i in (*operator.inputs[:2], operator.outputs[0])]
        if all(scales) and not can_add([scales[0][0], scales[1][0]], scales[2][0]):
            yield f"the scales of {name} are too far apart: {scales}"
    if name in MOVING:
        given, made = tensors[operator.inputs[MOVING[name]]], tensors[operator.outputs[0]]
        if given.dtype != made.dtype:
            yield f"{name} converts {given.dtype} to {made.dtype}"
    found = parts_fault(name, len(operator.inputs), len(operator.outputs), operator.options)
    if found:
        yield found
    shape = _shape_by_constants(operator, tensors)
    if shape is not None and (min(shape, default=0) < 0 or math.prod(shape) > _LARGEST):
        yield f"{name} has the invalid output shape {tuple(shape)}"


def _shape_by_constants(operator: Operator, tensors: Sequence[Tensor]) -> list[int] | None:
    """Return the output's shape if constants determine it, else None."""
    read = [tensors[index] for index in operator.inputs]
    if len(read) < 2:
        return None
    match operator.name:
        case "PAD" | "PADV2" | "MIRROR_PAD":
            amounts = _constant(read[1])
            if amounts is None or len(amounts) != 2 * len(read[0].shape):
                return None
            if min(amounts, default=0) < 0:
                return amounts
            return [size + sum(amounts[2 * n : 2 * n + 2]) for n, size in enumerate(read[0].shape)]
        case "TILE":
            times = _constant(read[1])
            if times is None or len(times) != len(read[0].shape):
                return None
            return [size * n for size, n in zip(read[0].shape, times, strict=True)]
        case "RESIZE_BILINEAR" | "RESIZE_NEAREST_NEIGHBOR":
            sizes = _constant(read[1])
            return None if sizes is None else [*read[0].shape[:1], *sizes, *read[0].shape[3:]]
        case "BROADCAST_TO":
            return _constant(read[1])
        case "FILL" | "TRANSPOSE_CONV" | "CONV_3D_TRANSPOSE":
            return _constant(read[0])
    return None


def _constant(tensor: Tensor) -> list[int] | None:
    """Return the values of an integer constant, or None for other tensors."""
    if not tensor.is_constant or tensor.dtype not in ("int32", "int64"):
        return None
    return list(map(int, np.frombuffer(tensor.data, f"<i{4 if tensor.dtype == 'int32' else 8}")))


def _find_order_faults(graph: Graph) -> Iterator[str]:
    """Find tensors that are read before they are written, or must not be written (again)."""
    constant = {tensor.index for tensor in graph.tensors if tensor.is_constant}
    inputs = {tensor.index for tensor in graph.inputs}
    variable = {tensor.index for tensor in graph.tensors if tensor.is_variable}
    filled = {tensor.index for tensor in graph.tensors if tensor.size == 0}
    filled |= variable | constant | inputs
    taken = variable | constant | inputs
    for operator in graph.operators:
        yield from _find_unfilled(operator.name, operator.inputs, filled)
        for index in operator.outputs:
            if index in taken:
                yield f"{operator.name} writes to tensor {index}, which already has values"
            taken.add(index)
            filled.add(index)
    yield from _find_unfilled("the caller", (tensor.index for tensor in graph.outputs), filled)


def _find_unfilled(reader: str, indices: Iterable[int], filled: set[int]) -> Iterator[str]:
    for index in indices:
        if index != -1 and index not in filled:
            yield f"{reader} reads tensor {index}, which has no values yet"
