"""What runtimes require of a file besides its operators: one function per rule, named in `TARGETS`.

A rule yields a reason for each violation; nothing if the file complies.
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
_CLASS_NUMBERS = ("int32", "int64")
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")
# Names that the converter gives to the inputs and outputs of the graph.
_NAMELESS = ("StatefulPartitionedCall", "PartitionedCall", "Identity")
# Their kernels require input and output of the same data type.
_SAME_TYPE = ("ABS", "COS", "LOG", "RSQRT", "SIN", "SQRT", "SQUARE", "NEG")
# The TensorFlow converter writes at least this version for integers.
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
    """Why a runtime does not run a file, or why that is unknown.

    Attributes:
        operator: The operator concerned, or None if it is the file as a whole.
        layer: Name of the operator's output in the file, which contains the layer's name.
        why: What is wrong, as text.
        fix: What to do about it.
        certain: Whether it prevents the file from running; if False, whether it runs is unknown.
    """

    operator: str | None
    layer: str | None
    why: str
    fix: str
    certain: bool = True

    def __str__(self) -> str:
        # For fused operations the converter keeps all names; the last is the first one computed.
        layer = (self.layer or "").split(";")[-1]
        place = f" at {layer}" if layer else ""
        return f"{self.operator}{place}: {self.why}" if self.operator else self.why


Rule = Callable[[ModelFile], Iterator[Reason]]


def make_reason(
    graph: Graph, operator: Operator, why: str, fix: str, certain: bool = True
) -> Reason:
    """Return a reason that names an operator and its output."""
    return Reason(operator.name, _place(graph, operator), why, fix, certain)


def _place(graph: Graph, operator: Operator) -> str:
    """Return the name of an operator's output, or of its input if the converter lost that name."""
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
    """Return an input of an operator, None if it is omitted."""
    if position >= len(operator.inputs) or operator.inputs[position] < 0:
        return None
    return graph.tensors[operator.inputs[position]]


def _output(graph: Graph, operator: Operator) -> Tensor | None:
    """Return the first output of an operator, None if it has none, like `ASSIGN_VARIABLE`."""
    return graph.tensors[operator.outputs[0]] if operator.outputs else None


def same_type(file: ModelFile) -> Iterator[Reason]:
    """An elementwise operator may not also convert integers to floats."""
    for graph, operator in _operators(file):
        given = _input(graph, operator, 0)
        if operator.name not in _SAME_TYPE or given is None:
            continue
        made = _output(graph, operator)
        if made is not None and given.dtype != made.dtype:
            why = f"takes {given.dtype} and returns {made.dtype}, which its kernel does not support"
            yield make_reason(graph, operator, why, "export with quantization='int8'")


def is_hybrid(graph: Graph, operator: Operator) -> bool:
    """Whether an operator computes in floats with integer weights."""
    given, weights = _hybrid_pair(graph, operator)
    return given in _FLOATS and weights in ("int8", "uint8", "int4")


def _hybrid_pair(graph: Graph, operator: Operator) -> tuple[str | None, str | None]:
    if operator.name not in _WEIGHTED:
        return None, None
    # A transposed convolution takes the output shape first and the data last.
    positions = (2, 1) if operator.name == "TRANSPOSE_CONV" else (0, 1)
    given, weights = (_input(graph, operator, position) for position in positions)
    return given.dtype if given else None, weights.dtype if weights else None


def no_hybrid(file: ModelFile) -> Iterator[Reason]:
    """Small runtimes have no kernels for float activations with integer weights."""
    for graph, operator in _operators(file):
        if is_hybrid(graph, operator):
            why = "computes in floats with integer weights (dynamic quantization)"
            fix = "export with quantization='int8' or 'float32'"
            yield make_reason(graph, operator, why, fix)


def hybrid_transpose(file: ModelFile) -> Iterator[Reason]:
    """A transposed convolution has no kernel for floats with integer weights before 2.15."""
    for graph, operator in _operators(file):
        if operator.name == "TRANSPOSE_CONV" and is_hybrid(graph, operator):
            why = "computes in floats with integer weights, for which there is no kernel"
            fix = (
                "fold batch normalization into the transposed convolution or remove it, "
                "or export with quantization='float16'"
            )
            yield make_reason(graph, operator, why, fix)


def reliable_versions(file: ModelFile) -> Iterator[Reason]:
    """If integer operators are marked as version 1, versions do not tell what a file needs."""
    for graph, operator in _operators(file):
        least = _LEAST_INTEGER_VERSION.get(operator.name)
        second = _input(graph, operator, 1)
        if least is None or second is None or operator.version >= least:
            continue
        if second.dtype in ("int8", "int16", "int4"):
            why = (
                f"is marked as version {operator.version} although it has integers, so versions "
                "say nothing here (ai-edge-quantizer writes 1 everywhere)"
            )
            fix = "run the file on the device's runtime: python -m keras_dlcourse.edge benchmark"
            yield make_reason(graph, operator, why, fix, certain=False)
            return


def static_shapes(file: ModelFile) -> Iterator[Reason]:
    """Memory is planned before the first run, so every size must be fixed."""
    for tensor in (*file.inputs, *file.outputs):
        if -1 in tensor.shape_signature:
            why = f"tensor {tensor.name} has the dynamic shape {tensor.shape_signature}"
            yield Reason(None, None, why, "export with batch=1 and fixed image sizes")
            return


def one_scale(file: ModelFile) -> Iterator[Reason]:
    """Quantization on the device supports one scale per tensor, not one per channel."""
    for graph, operator in _operators(file):
        made = _output(graph, operator)
        if operator.name == "QUANTIZE" and made is not None and len(made.scales) > 1:
            why = "has one scale per channel"
            fix = "export with quantization='int8', which stores such weights as integers"
            yield make_reason(graph, operator, why, fix)


def one_graph(file: ModelFile) -> Iterator[Reason]:
    """MediaPipe only runs files with a single graph."""
    if len(file.graphs) > 1:
        why = f"the file has {len(file.graphs)} graphs, but MediaPipe takes only one"
        yield Reason(None, None, why, "build recurrent layers with unroll=True; export one model")


def image_input(file: ModelFile) -> Iterator[Reason]:
    """One color image, as float32 with one mean and deviation in the metadata, or as uint8."""
    if len(file.inputs) > 1:
        why = f"the file has {len(file.inputs)} inputs, but the task takes one image"
        yield Reason(None, None, why, "export a model with one input")
        return
    tensor = file.inputs[0]
    if len(tensor.shape) != 4 or tensor.shape_signature[0] not in (1, -1):
        why = f"the input has shape {tensor.shape_signature}, which is not that of one image"
        yield Reason(None, None, why, "export an image model with batch=1")
        return
    if tensor.shape[-1] != 3:
        why = f"the input has {tensor.shape[-1]} channels, but the task provides 3"
        yield Reason(None, None, why, "export the grayscale model without rgb=False")
    if tensor.dtype not in ("float32", "uint8"):
        why = f"the input is {tensor.dtype}, but the task provides uint8 or float32"
        yield Reason(None, None, why, "export with input_dtype='uint8' or 'float32'")
    normalization = file.metadata.normalization
    if tensor.dtype == "float32" and normalization is None:
        why = "the metadata lacks the normalization, which a float input needs"
        yield Reason(None, None, why, "export it with kd.export.to_tflite, which writes it")
    elif tensor.dtype == "float32" and normalization and not normalization.is_scalar:
        why = "the metadata has a per-channel normalization, which the task rejects"
        yield Reason(None, None, why, "export with kd.export.to_tflite, which puts it in the graph")


def scores_output(file: ModelFile) -> Iterator[Reason]:
    """One score per class, float32 or uint8; metadata for all outputs or for none."""
    if _is_mask(file) or file.metadata.is_detector:
        return
    tensor = file.outputs[0]
    if tensor.dtype not in ("float32", "uint8"):
        why = f"the output is {tensor.dtype}, but the task reads uint8 or float32"
        yield Reason(None, None, why, "export with output_dtype='uint8' or 'float32'")
    described = _count_described_outputs(file)
    if described not in (0, len(file.outputs)):
        why = f"the file has {len(file.outputs)} outputs, but metadata for {described}"
        yield Reason(None, None, why, "export a model with one output")
    sizes = [size for size in tensor.shape if size != 1]
    if sizes not in ([], [tensor.shape[-1]]):
        why = f"it opens, but its output has shape {tensor.shape}, not one score per class"
        fix = "use a task other than classification, or export a classifier"
        yield Reason(None, None, why, fix, certain=False)


def mask_output(file: ModelFile) -> Iterator[Reason]:
    """One value per class at each position, of fixed size; metadata that names the activation."""
    if not _is_mask(file):
        return
    tensor = file.outputs[0]
    shape = tensor.shape_signature
    if tensor.dtype in _CLASS_NUMBERS or len(shape) == 3:
        why = f"the output of shape {shape} has class numbers, but the task reads values per class"
        yield Reason(None, None, why, "export the model without its argmax")
    elif tensor.dtype not in ("float32", "uint8", "int8"):
        why = f"the output is {tensor.dtype}, but the task reads float32, uint8 or int8"
        yield Reason(None, None, why, "export with output_dtype='uint8' or 'float32'")
    if -1 in shape[1:]:
        why = f"the output has the open size {shape}"
        yield Reason(None, None, why, "export a model with inputs of fixed size")
    if len(shape) == 4 and file.metadata.mask is None and not _ends_in_confidences(file):
        why = "it opens, but takes the outputs for confidences, as the metadata names no activation"
        fix = "export with kd.export.to_tflite, which writes it for a softmax or a declared mask"
        yield Reason(None, None, why, fix, certain=False)


def detector_output(file: ModelFile) -> Iterator[Reason]:
    """Two outputs with anchors in the metadata, or four; all of them float32, or all uint8."""
    if not file.metadata.is_detector:
        return
    types = sorted({tensor.dtype for tensor in file.outputs})
    allowed = (["float32"],) if file.metadata.has_nms else (["float32"], ["uint8"])
    if types not in allowed:
        why = f"the outputs are {' and '.join(types)}, but the task reads only float32 or uint8"
        yield Reason(None, None, why, "export with output_dtype='uint8' or 'float32'")
    expected = 4 if file.metadata.has_nms else 2
    if len(file.outputs) != expected:
        why = f"the file has {len(file.outputs)} outputs, but the task reads {expected}"
        yield Reason(None, None, why, "export a model with boxes and scores only")
    if not file.metadata.has_nms and file.metadata.detection is None:
        why = "the metadata lacks the anchors, or a way to decode boxes that this package knows"
        yield Reason(None, None, why, "export it with kd.export.to_tflite, which writes them")


def _is_mask(file: ModelFile) -> bool:
    """Whether a file gives an answer at each position of an image."""
    if len(file.outputs) != 1 or len(file.inputs[0].shape) != 4:
        return False
    tensor = file.outputs[0]
    shape = tensor.shape_signature
    has_numbers = len(shape) == 3 and tensor.dtype in _CLASS_NUMBERS
    return has_numbers or (len(shape) == 4 and shape[1:3] != (1, 1))


def _ends_in_confidences(file: ModelFile) -> bool:
    """Whether the output is made by a softmax or sigmoid, and at most converted after it."""
    makers = {index: operator for operator in file.operators for index in operator.outputs}
    maker = makers.get(file.outputs[0].index)
    while maker is not None and maker.name in ("QUANTIZE", "DEQUANTIZE"):
        maker = makers.get(maker.inputs[0])
    return maker is not None and maker.name in ("SOFTMAX", "LOGISTIC")


def _count_described_outputs(file: ModelFile) -> int:
    """Return the number of outputs with an entry in the standard metadata."""
    content = file.metadata.extra.get(schema.METADATA_NAME)
    if content is None:
        return 0
    root = Table.root(content, schema.METADATA_IDENTIFIER, file.what)
    graphs = root.tables(schema.ModelMetadata.SUBGRAPH_METADATA)
    slot = schema.SubGraphMetadata.OUTPUT_TENSOR_METADATA
    return len(graphs[0].tables(slot)) if graphs else 0


def eight_bit(file: ModelFile) -> Iterator[Reason]:
    """The Edge TPU computes in 8 bits only, from input to output."""
    ends = {tensor.index for tensor in file.outputs}
    for graph, operator in _operators(file):
        made = _output(graph, operator)
        if made is None or (operator.name == "DEQUANTIZE" and made.index in ends):
            continue  # at the end of the graph it runs on the CPU
        if made.dtype not in _EIGHT_BIT:
            why = f"computes in {made.dtype}; the compiler leaves it and what follows on the CPU"
            fix = "export with quantization='int8', and replace layers that stay in float"
            yield make_reason(graph, operator, why, fix)


def compiler_age(file: ModelFile) -> Iterator[Reason]:
    """The compiler is no longer maintained and may not read newer operator versions."""
    numbers = file.min_runtime_version.split(".")[:2]
    if len(numbers) == 2 and all(number.isdigit() for number in numbers):
        if tuple(map(int, numbers)) <= _EDGE_TPU_COMPILER:
            return
        why = (
            f"an operator needs TensorFlow Lite {file.min_runtime_version}, but the compiler is "
            "based on 2.5"
        )
    else:
        why = "the file does not record which runtime it needs, and the compiler is based on 2.5"
    yield Reason(None, None, why, "run edgetpu_compiler -s on the file", certain=False)


def gpu_types(file: ModelFile) -> Iterator[Reason]:
    """The delegate computes in floats, also for 8-bit tensors."""
    for graph, operator in _operators(file):
        made = _output(graph, operator)
        if made is not None and made.dtype == "int16":
            fix = "export with quantization='int8', 'float16' or 'float32'"
            yield make_reason(graph, operator, "computes in int16", fix)
        elif is_hybrid(graph, operator):
            why = "computes in floats with integer weights, which the published list does not cover"
            fix = "export with quantization='float16' or 'float32', or try it on a phone"
            yield make_reason(graph, operator, why, fix, certain=False)


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        same_type, no_hybrid, hybrid_transpose, reliable_versions, static_shapes, one_scale,
        one_graph, image_input, scores_output, mask_output, detector_output, eight_bit,
        compiler_age, gpu_types,
    )
}  # fmt: skip
