"""Requirements of operators that runtimes do not check; each violation has crashed a process.

Operators that are not listed are left to the runtime.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

# Operators by the minimum number of inputs that their kernels rely on, besides one output.
_LEAST_INPUTS: dict[str, int] = {
    name: count
    for count, names in {
        1: """IF WHILE AVERAGE_POOL_2D MAX_POOL_2D L2_POOL_2D CONCATENATION PACK UNPACK RELU RELU6
            RELU_N1_TO_1 RELU_0_TO_1 LOGISTIC TANH SOFTMAX LOG_SOFTMAX QUANTIZE DEQUANTIZE
            HARD_SWISH ELU LEAKY_RELU GELU ABS NEG EXP LOG SQRT RSQRT SQUARE SIN COS FLOOR CEIL
            ROUND SIGN SHAPE RANK CAST RESHAPE SQUEEZE SPACE_TO_DEPTH DEPTH_TO_SPACE
            L2_NORMALIZATION LOCAL_RESPONSE_NORMALIZATION LOGICAL_NOT ZEROS_LIKE FAKE_QUANT ADD_N
            DENSIFY MATRIX_DIAG UNIQUE WHERE BITCAST REAL IMAG COMPLEX_ABS""",
        2: """ADD SUB MUL DIV MAXIMUM MINIMUM POW SQUARED_DIFFERENCE FLOOR_DIV FLOOR_MOD EQUAL
            NOT_EQUAL GREATER GREATER_EQUAL LESS LESS_EQUAL LOGICAL_AND LOGICAL_OR ATAN2
            BITWISE_XOR RIGHT_SHIFT CONV_2D DEPTHWISE_CONV_2D CONV_3D FULLY_CONNECTED BATCH_MATMUL
            MEAN SUM REDUCE_PROD REDUCE_MAX REDUCE_MIN REDUCE_ANY REDUCE_ALL ARG_MAX ARG_MIN
            CUMSUM TRANSPOSE PAD MIRROR_PAD PRELU RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR
            EXPAND_DIMS GATHER GATHER_ND TILE SPLIT TOPK_V2 FILL BROADCAST_TO BROADCAST_ARGS
            REVERSE_V2 REVERSE_SEQUENCE EMBEDDING_LOOKUP SEGMENT_SUM RFFT2D MATRIX_SET_DIAG""",
        3: """TRANSPOSE_CONV CONV_3D_TRANSPOSE SLICE PADV2 SELECT SELECT_V2 SPLIT_V SCATTER_ND
            SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND RANGE DYNAMIC_UPDATE_SLICE UNSORTED_SEGMENT_SUM
            UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_MIN UNSORTED_SEGMENT_PROD HASHTABLE_LOOKUP""",
        4: "STRIDED_SLICE ONE_HOT SPARSE_TO_DENSE SVDF",
        5: "RNN UNIDIRECTIONAL_SEQUENCE_RNN NON_MAX_SUPPRESSION_V4 LSTM",
        6: "NON_MAX_SUPPRESSION_V5",
        20: "UNIDIRECTIONAL_SEQUENCE_LSTM",
        39: "BIDIRECTIONAL_SEQUENCE_LSTM",
    }.items()
    for name in names.split()
}
# Index of the first optional input, such as a bias or the gates of a recurrent layer.
_OPTIONAL_FROM = {
    "CONV_2D": 2,
    "DEPTHWISE_CONV_2D": 2,
    "FULLY_CONNECTED": 2,
    "CONV_3D": 2,
    "TRANSPOSE_CONV": 3,
    "CONV_3D_TRANSPOSE": 3,
    "SVDF": 3,
    "LSTM": 1,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": 1,
    "BIDIRECTIONAL_SEQUENCE_LSTM": 1,
    "BIDIRECTIONAL_SEQUENCE_RNN": 1,
}
# Operators that compute with the scale of their integer tensors.
_SCALED_NAMES = """
    ADD SUB MUL DIV CONV_2D DEPTHWISE_CONV_2D TRANSPOSE_CONV FULLY_CONNECTED BATCH_MATMUL
    MEAN SUM AVERAGE_POOL_2D MAX_POOL_2D SOFTMAX LOG_SOFTMAX LOGISTIC TANH RELU RELU6 RELU_N1_TO_1
    HARD_SWISH LEAKY_RELU PRELU ELU GELU DEQUANTIZE SQUARED_DIFFERENCE L2_NORMALIZATION RSQRT EXP
    SVDF UNIDIRECTIONAL_SEQUENCE_LSTM"""
_SCALED = frozenset(_SCALED_NAMES.split())
QUANTIZED = frozenset(("int8", "uint8", "int16"))
_SMALLEST = 2.0**-126  # the smallest normal float32
_LARGEST = 2.0**30
# Kernels shift by 15 (int16) or 20 bits, and twice the larger input must stay below that.
_SUM_RATIO = 2**14
ADDING = ("ADD", "SUB")
# Operators that copy bytes, with the index of the input whose type the output must have.
_MOVING_NAMES = """
    RESHAPE TRANSPOSE PAD PADV2 MIRROR_PAD SQUEEZE EXPAND_DIMS SLICE STRIDED_SLICE GATHER GATHER_ND
    CONCATENATION PACK UNPACK TILE REVERSE_V2 SPACE_TO_DEPTH DEPTH_TO_SPACE SPACE_TO_BATCH_ND
    BATCH_TO_SPACE_ND BROADCAST_TO RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR MAX_POOL_2D SPLIT_V
    DYNAMIC_UPDATE_SLICE"""
MOVING = dict.fromkeys(_MOVING_NAMES.split(), 0) | {"SPLIT": 1}
# Operators that accept types without a fixed size, such as strings and resources.
_UNSIZED_NAMES = """
    RESHAPE SQUEEZE EXPAND_DIMS GATHER GATHER_ND SLICE STRIDED_SLICE CONCATENATION PACK UNPACK SPLIT
    SPLIT_V TILE TRANSPOSE BROADCAST_TO FILL SHAPE RANK WHERE EQUAL NOT_EQUAL SELECT SELECT_V2
    UNIQUE EMBEDDING_LOOKUP HASHTABLE_LOOKUP ZEROS_LIKE REVERSE_V2"""
SIZED_ONLY = frozenset(_LEAST_INPUTS) - frozenset(_UNSIZED_NAMES.split())
# Operators that run other graphs; all their options are graph indices.
SUBGRAPH_CALLS = ("IF", "WHILE", "CALL_ONCE")


def fault(name: str, custom: bool, inputs: Sequence[int], outputs: Sequence[int]) -> str | None:
    """Return the fault in the number of an operator's inputs or outputs, or None.

    Args:
        name: Name of the operator.
        custom: Whether it is a custom operator, about which nothing is known.
        inputs: Indices of its input tensors; -1 for an omitted input.
        outputs: Indices of its output tensors.

    Example:
        >>> fault("SUB", False, [3], [4])
        'SUB needs at least 2 inputs, but has 1'
    """
    least = _LEAST_INPUTS.get(name)
    if custom or least is None:
        return None
    if len(inputs) < least:
        return f"{name} needs at least {least} inputs, but has {len(inputs)}"
    if not outputs:
        return f"{name} has no output"
    if -1 in inputs[: _OPTIONAL_FROM.get(name, len(inputs))]:
        return f"{name} lacks input {list(inputs).index(-1)}"
    return None


def parts_fault(name: str, inputs: int, outputs: int, options: Sequence[int]) -> str | None:
    """Return the mismatch between options and the number of inputs or outputs, or None.

    Args:
        name: Name of the operator.
        inputs: Number of inputs.
        outputs: Number of outputs.
        options: Result of `operator_options.read_options`.

    Example:
        >>> parts_fault("SPLIT", 2, 2, (3,))
        'SPLIT has 2 parts, but its options say 3'
    """
    parts = {"PACK": inputs, "UNPACK": outputs, "SPLIT": outputs, "SPLIT_V": outputs}.get(name)
    if parts is None or parts == options[0]:
        return None
    return f"{name} has {parts} parts, but its options say {options[0]}"


def needs_scale(name: str, dtype: str) -> bool:
    """Return whether the operator computes with the scale of a tensor of the given type.

    Example:
        >>> needs_scale("CONV_2D", "int8"), needs_scale("RESHAPE", "int8")
        (True, False)
    """
    return name in _SCALED and dtype in QUANTIZED


def is_scale(scale: float, dtype: str) -> bool:
    """Return whether a runtime can compute with a scale: finite, positive and of plausible size.

    Example:
        >>> is_scale(0.5, "int8"), is_scale(0.0, "int8"), is_scale(1e30, "uint8")
        (True, False, False)
    """
    least, most = (_SMALLEST, _LARGEST) if dtype in QUANTIZED else (0, math.inf)
    return least <= scale <= most and math.isfinite(scale)


def can_add(inputs: Sequence[float], output: float) -> bool:
    """Return whether sums can be stored; addition kernels abort the process at larger ratios.

    Args:
        inputs: Scales of the two inputs.
        output: Scale of the sum.

    Example:
        >>> can_add([0.1, 0.2], 0.3), can_add([0.1, 9999], 0.3)
        (True, False)
    """
    return max(inputs) < _SUM_RATIO * output
