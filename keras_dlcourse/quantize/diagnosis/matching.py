"""Match the operators of an integer file to those of a float file."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from difflib import SequenceMatcher

from keras_dlcourse.edge.tflite.graph import Operator
from keras_dlcourse.edge.tflite.model_file import ModelFile

# They convert between floats and integers and have no counterpart in a float file.
BORDERS = ("QUANTIZE", "DEQUANTIZE")

# TensorFlow's names for the operation in which a layer uses its kernel.
_KERNEL_USES = ("convolution", "depthwise", "MatMul", "conv_transpose", "Conv2DTranspose")


@dataclass(frozen=True)
class Matching:
    """The corresponding operators in two files of one network.

    Attributes:
        pairs: Operator numbers, `(float file, integer file)`, in the order of the float file.
        only_float: Operators of the float file without a counterpart.
        only_integer: Operators of the integer file without a counterpart.
    """

    pairs: tuple[tuple[int, int], ...]
    only_float: tuple[int, ...]
    only_integer: tuple[int, ...]


def match_operators(float_file: ModelFile, integer_file: ModelFile) -> Matching:
    """Match the operators of two files by order, kind and output shape.

    The same converter writes both files, so the sequences are usually equal. Where it has fused
    operators differently, the longest common runs are matched and the rest stays unmatched.

    Args:
        float_file: A float32 file.
        integer_file: An integer file of the same network.

    Returns:
        A `Matching`, without operators that only convert values.
    """
    first, second = _steps(float_file), _steps(integer_file)
    matcher = SequenceMatcher(
        None,
        [_key(float_file, number) for number in first],
        [_key(integer_file, number) for number in second],
        autojunk=False,
    )
    pairs = [
        (first[block.a + offset], second[block.b + offset])
        for block in matcher.get_matching_blocks()
        for offset in range(block.size)
    ]
    matched_first, matched_second = {a for a, _ in pairs}, {b for _, b in pairs}
    return Matching(
        tuple(pairs),
        tuple(number for number in first if number not in matched_first),
        tuple(number for number in second if number not in matched_second),
    )


def _steps(file: ModelFile) -> list[int]:
    return [number for number, op in enumerate(file.operators) if op.name not in BORDERS]


def _key(file: ModelFile, number: int) -> tuple[str, tuple[int, ...]]:
    operator = file.operators[number]
    return operator.name, file.tensors[operator.outputs[0]].shape


def layer_name(file: ModelFile, operator: Operator, known: Collection[str] = ()) -> str:
    """Return the name of the Keras layer that an operator comes from, as far as possible.

    The converter keeps the paths of all fused layers: `"net_1/relu_1/Relu;net_1/conv_1/BiasAdd"`.

    Args:
        file: The file.
        operator: One of its operators.
        known: Layer names of the Keras model, if there is one. They take precedence over other
            names.

    Returns:
        The layer with the kernel, if there is one; otherwise the last layer that was fused;
        `"output"` for an output without any name.
    """
    tensors = [file.tensors[index] for index in operator.inputs if index >= 0]
    output = file.tensors[operator.outputs[0]].name
    names = [tensor.name for tensor in tensors if tensor.is_constant] + [output]
    paths = [path.split("/") for name in names for path in name.split(";")]
    kernels = [path for path in paths if path[-1].rstrip("0123456789") in _KERNEL_USES]
    for path in kernels + [part.split("/") for part in output.split(";")] + paths:
        for part in reversed(path[:-1]):
            if (found := _find_known(part, known)) is not None:
                return found
    inside = [path for path in kernels + paths if len(path) > 2]
    if inside and not known:
        return "/".join(_strip_call_number(part) for part in inside[0][1:-1])
    # The converter keeps no path for the output of the last layer.
    return "output" if operator.outputs[0] == file.outputs[0].index else output


def _find_known(part: str, known: Collection[str]) -> str | None:
    return next((name for name in (part, _strip_call_number(part)) if name in known), None)


def _strip_call_number(part: str) -> str:
    """Return a name without the call number that Keras appends, as in `conv_1`."""
    return re.sub(r"_\d+$", "", part)
