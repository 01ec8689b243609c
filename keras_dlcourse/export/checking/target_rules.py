"""What runtimes ask of a file beside its operators: one function a rule, named in `TARGETS`.

A rule yields what it objects to; nothing where the file complies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from keras_dlcourse.edge.tflite import schema
from keras_dlcourse.edge.tflite.flatbuffer import Table
from keras_dlcourse.edge.tflite.graph import Graph, Operator, Tensor
from keras_dlcourse.edge.tflite.model_file import ModelFile

_FLOATS = ("float32", "float16")
_EIGHT_BIT = ("int8", "uint8")
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")
# The converter gives these names to the graph's ends.
_NAMELESS = ("StatefulPartitionedCall", "PartitionedCall", "Identity")
# Their kernels ask that what goes in and what comes out are of one type.
_SAME_TYPE = ("ABS", "COS", "LOG", "RSQRT", "SIN", "SQRT", "SQUARE", "NEG")
# Where the TensorFlow converter writes integers, it writes at least this version.
_LEAST_INTEGER_VERSION = {
    "CONV_2D": 2,
    "DEPTHWISE_CONV_2D": 2,
    "FULLY_CONNECTED": 2,
    "TRANSPOSE_CONV": 2,
    "ADD": 2,
    "MUL": 2,
}
# edgetpu_compiler 16.0, the last one, was built with TensorFlow 2.5.
_EDGE_TPU_COMPILER = (2, 5)


@dataclass(frozen=True)
class Reason:
    """Why a runtime does not run a file, or why that is not known.

    Attributes:
        operator: The operator it is about, or None if it is the file as a whole.
        layer: Name of the operator's output in the file, which holds the layer's name.
        why: What is wrong, in words.
        fix: What to do about it.
        certain: Whether it prevents running; otherwise it only leaves it open.
    """

    operator: str | None
    layer: str | None
    why: str
    fix: str
    certain: bool = True

    def __str__(self) -> str:
        # Of fused operations the converter keeps all names; the last is the first that is computed.
        layer = (self.layer or "").split(";")[-1]
        place = f" at {layer}" if layer else ""
        return f"{self.operator}{place}: {self.why}" if self.operator else self.why


Rule = Callable[[ModelFile], Iterator[Reason]]


def of_operator(
    graph: Graph, operator: Operator, why: str, fix: str, certain: bool = True
) -> Reason:
    """Return a reason that names an operator and its output."""
    return Reason(operator.name, _place(graph, operator), why, fix, certain)


def _place(graph: Graph, operator: Operator) -> str:
    """Return the name of an operator's output, or of its input where the converter lost that."""
    made = graph.tensors[operator.outputs[0]].name if operator.outputs else ""
    if not made.startswith(_NAMELESS):
        return made
    names = [graph.tensors[index].name for index in operator.inputs if index >= 0]
    known = [name for name in names if not name.startswith((*_NAMELESS, "arith.constant"))]
    return f"the output, after {known[0]}" if known else made


def _operators(file: ModelFile) -> Iterator[tuple[Graph, Operator]]:
    for graph in file.graphs:
        for operator in graph.operators:
            yield graph, operator


def _input(graph: Graph, operator: Operator, position: int) -> Tensor | None:
    """Return an input of an operator, None if it is left out."""
    if position >= len(operator.inputs) or operator.inputs[position] < 0:
        return None
    return graph.tensors[operator.inputs[position]]


def _made(graph: Graph, operator: Operator) -> Tensor | None:
    """Return the first output of an operator, None if it has none, as `ASSIGN_VARIABLE`."""
    return graph.tensors[operator.outputs[0]] if operator.outputs else None


def same_type(file: ModelFile) -> Iterator[Reason]:
    """An elementwise operator may not turn integers into floats by the way."""
    for graph, operator in _operators(file):
        given = _input(graph, operator, 0)
        if operator.name not in _SAME_TYPE or given is None:
            continue
        made = _made(graph, operator)
        if made is not None and given.dtype != made.dtype:
            why = f"takes {given.dtype} and is to give {made.dtype}, which its kernel refuses"
            yield of_operator(graph, operator, why, "export with quantization='int8'")


def is_hybrid(graph: Graph, operator: Operator) -> bool:
    """Whether an operator computes floats with integer weights."""
    given, weights = _hybrid_pair(graph, operator)
    return given in _FLOATS and weights in ("int8", "uint8", "int4")


def _hybrid_pair(graph: Graph, operator: Operator) -> tuple[str | None, str | None]:
    if operator.name not in _WEIGHTED:
        return None, None
    # A transposed convolution has its output's shape first and its data last.
    positions = (2, 1) if operator.name == "TRANSPOSE_CONV" else (0, 1)
    given, weights = (_input(graph, operator, position) for position in positions)
    return given.dtype if given else None, weights.dtype if weights else None


def no_hybrid(file: ModelFile) -> Iterator[Reason]:
    """Kernels for float activations with integer weights are missing on small runtimes."""
    for graph, operator in _operators(file):
        if is_hybrid(graph, operator):
            why = "computes in floats with integer weights (dynamic quantization)"
            fix = "export with quantization='int8' or 'float32'"
            yield of_operator(graph, operator, why, fix)


def hybrid_transpose(file: ModelFile) -> Iterator[Reason]:
    """A transposed convolution has no kernel for floats with integer weights before 2.15."""
    for graph, operator in _operators(file):
        if operator.name == "TRANSPOSE_CONV" and is_hybrid(graph, operator):
            why = "computes in floats with integer weights, for which there is no kernel"
            fix = (
                "fold batch normalization into the transposed convolution or leave it out, "
                "or export with quantization='float16'"
            )
            yield of_operator(graph, operator, why, fix)


def versions_said(file: ModelFile) -> Iterator[Reason]:
    """Where integer operators stand as version 1, versions say nothing about what is needed."""
    for graph, operator in _operators(file):
        least = _LEAST_INTEGER_VERSION.get(operator.name)
        second = _input(graph, operator, 1)
        if least is None or second is None or operator.version >= least:
            continue
        if second.dtype in ("int8", "int16", "int4"):
            why = (
                f"is written as version {operator.version} though it has integers, so versions "
                "say nothing here (ai-edge-quantizer writes 1 everywhere)"
            )
            fix = "run the file on the device's runtime: python -m keras_dlcourse.edge benchmark"
            yield of_operator(graph, operator, why, fix, certain=False)
            return


def static_shapes(file: ModelFile) -> Iterator[Reason]:
    """Memory is planned before the first run, so no size may be open."""
    for tensor in (*file.inputs, *file.outputs):
        if -1 in tensor.shape_signature:
            why = f"tensor {tensor.name} has the open shape {tensor.shape_signature}"
            yield Reason(None, None, why, "export with batch=1 and fixed image sizes")
            return


def one_scale(file: ModelFile) -> Iterator[Reason]:
    """Quantizing on the device knows one scale a tensor, not one a channel."""
    for graph, operator in _operators(file):
        made = _made(graph, operator)
        if operator.name == "QUANTIZE" and made is not None and len(made.scales) > 1:
            why = "gives one scale a channel"
            fix = "export with quantization='int8', which stores such weights as integers"
            yield of_operator(graph, operator, why, fix)


def one_graph(file: ModelFile) -> Iterator[Reason]:
    """MediaPipe runs files of a single graph only."""
    if len(file.graphs) > 1:
        why = f"the file has {len(file.graphs)} graphs, MediaPipe takes files of one"
        yield Reason(None, None, why, "build recurrent layers with unroll=True; export one model")


def image_input(file: ModelFile) -> Iterator[Reason]:
    """One colour image, float32 with one mean and deviation in the metadata, or uint8."""
    if len(file.inputs) > 1:
        why = f"the file has {len(file.inputs)} inputs, the task takes one image"
        yield Reason(None, None, why, "export a model of one input")
        return
    tensor = file.inputs[0]
    if len(tensor.shape) != 4 or tensor.shape_signature[0] not in (1, -1):
        why = f"the input has the shape {tensor.shape_signature}, not that of one image"
        yield Reason(None, None, why, "export an image model with batch=1")
        return
    if tensor.shape[-1] != 3:
        why = f"the input has {tensor.shape[-1]} channels, the task gives 3"
        yield Reason(None, None, why, "export the grey model without rgb=False")
    if tensor.dtype not in ("float32", "uint8"):
        why = f"the input is {tensor.dtype}, the task gives uint8 or float32"
        yield Reason(None, None, why, "export with input_dtype='uint8' or 'float32'")
    normalization = file.metadata.normalization
    if tensor.dtype == "float32" and normalization is None:
        why = "the metadata lack the normalization, which a float input needs"
        yield Reason(None, None, why, "export it with kd.export.to_tflite, which writes them")
    elif tensor.dtype == "float32" and normalization and not normalization.is_scalar:
        why = "the metadata have a normalization per channel, which the task refuses"
        yield Reason(None, None, why, "export it with kd.export.to_tflite: it goes into the graph")


def scores_output(file: ModelFile) -> Iterator[Reason]:
    """One score a class, float32 or uint8; where outputs have metadata, each has its own."""
    tensor = file.outputs[0]
    if tensor.dtype not in ("float32", "uint8"):
        why = f"the output is {tensor.dtype}, the task reads uint8 or float32"
        yield Reason(None, None, why, "export with output_dtype='uint8' or 'float32'")
    described = _described_outputs(file)
    if described not in (0, len(file.outputs)):
        why = f"the file has {len(file.outputs)} outputs and metadata for {described}"
        yield Reason(None, None, why, "export a model of one output")
    sizes = [size for size in tensor.shape if size != 1]
    if sizes not in ([], [tensor.shape[-1]]):
        why = f"it opens, but its output has the shape {tensor.shape}, not one score a class"
        fix = "use another task than classification, or export a classifier"
        yield Reason(None, None, why, fix, certain=False)


def _described_outputs(file: ModelFile) -> int:
    """Return for how many outputs the standard metadata have an entry."""
    content = file.metadata.extra.get(schema.METADATA_NAME)
    if content is None:
        return 0
    root = Table.root(content, schema.METADATA_IDENTIFIER, file.what)
    graphs = root.tables(schema.ModelMetadata.SUBGRAPH_METADATA)
    slot = schema.SubGraphMetadata.OUTPUT_TENSOR_METADATA
    return len(graphs[0].tables(slot)) if graphs else 0


def eight_bit(file: ModelFile) -> Iterator[Reason]:
    """The Edge TPU computes in eight bits only, from input to output."""
    ends = {tensor.index for tensor in file.outputs}
    for graph, operator in _operators(file):
        made = _made(graph, operator)
        if made is None or (operator.name == "DEQUANTIZE" and made.index in ends):
            continue  # at the border it stays on the processor
        if made.dtype not in _EIGHT_BIT:
            why = f"computes in {made.dtype}; the compiler leaves it and what follows on the CPU"
            fix = "export with quantization='int8', and replace what stays in float"
            yield of_operator(graph, operator, why, fix)


def compiler_age(file: ModelFile) -> Iterator[Reason]:
    """The compiler is no longer developed and may not read newer operator versions."""
    numbers = file.min_runtime_version.split(".")[:2]
    if len(numbers) == 2 and all(number.isdigit() for number in numbers):
        if tuple(map(int, numbers)) <= _EDGE_TPU_COMPILER:
            return
        why = f"an operator is of TensorFlow Lite {file.min_runtime_version}, the compiler of 2.5"
    else:
        why = "the file does not say which runtime it needs, and the compiler is of 2.5"
    yield Reason(None, None, why, "run edgetpu_compiler -s on the file", certain=False)


def gpu_types(file: ModelFile) -> Iterator[Reason]:
    """The delegate computes floats, or eight bits as floats."""
    for graph, operator in _operators(file):
        made = _made(graph, operator)
        if made is not None and made.dtype == "int16":
            fix = "export with quantization='int8', 'float16' or 'float32'"
            yield of_operator(graph, operator, "computes in int16", fix)
        elif is_hybrid(graph, operator):
            why = (
                "computes in floats with integer weights, of which the published list says nothing"
            )
            fix = "export with quantization='float16' or 'float32', or try it on the phone"
            yield of_operator(graph, operator, why, fix, certain=False)


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        same_type, no_hybrid, hybrid_transpose, versions_said, static_shapes, one_scale,
        one_graph, image_input, scores_output, eight_bit, compiler_age, gpu_types,
    )
}  # fmt: skip
