"""What each device runtime can run, as data: operators, versions, data types.

A comment above each table states its source. The tables of runtimes that install on a desktop
computer were measured on them: each version of every operator was put into a graph with one node,
and the runtime was asked to load it; the data types that an operator takes were found by running
converted networks (`tests/export/test_preflight.py` repeats that). The other tables are what the
vendors publish.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ANY = 1 << 30  # no version is too new: the runtime ignores versions


def _table(*rows: tuple[int, str]) -> dict[str, int]:
    """Return the newest known version of each operator."""
    return {name: version for version, names in rows for name in names.split()}


# tflite-runtime 2.14.0 for Linux: graphs with one node, versions 1 to 20 of every operator.
_TFLITE_2_14 = _table(
    (1, """ADD_N ASSIGN_VARIABLE ATAN2 BITCAST BITWISE_XOR BROADCAST_ARGS BUCKETIZE CALL_ONCE CEIL
        COMPLEX_ABS CONV_3D CONV_3D_TRANSPOSE COS CUMSUM DENSIFY DYNAMIC_UPDATE_SLICE ELU
        EMBEDDING_LOOKUP_SPARSE EXPAND_DIMS FLOOR HARD_SWISH HASHTABLE HASHTABLE_FIND
        HASHTABLE_IMPORT HASHTABLE_LOOKUP HASHTABLE_SIZE IF IMAG L2_POOL_2D
        LOCAL_RESPONSE_NORMALIZATION LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR LSH_PROJECTION
        MATRIX_DIAG MATRIX_SET_DIAG MULTINOMIAL NEG NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5
        ONE_HOT POW PRELU RANDOM_STANDARD_NORMAL RANDOM_UNIFORM RANK READ_VARIABLE REAL REDUCE_ALL
        REDUCE_ANY RELU_0_TO_1 RELU_N1_TO_1 RESHAPE REVERSE_SEQUENCE RFFT2D RIGHT_SHIFT ROUND
        SCATTER_ND SEGMENT_SUM SHAPE SIN SKIP_GRAM SQRT SQUARE UNIQUE UNSORTED_SEGMENT_MAX
        UNSORTED_SEGMENT_MIN UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_SUM VAR_HANDLE WHILE
        ZEROS_LIKE"""),
    (2, """DEPTH_TO_SPACE DIV EXP FAKE_QUANT FLOOR_MOD GELU GREATER L2_NORMALIZATION LEAKY_RELU
        LESS_EQUAL LOG_SOFTMAX RANGE REDUCE_PROD RSQRT SELECT_V2 SIGN SPACE_TO_DEPTH SPLIT_V
        SQUARED_DIFFERENCE SQUEEZE SUM WHERE"""),
    (3, """ARG_MAX ARG_MIN AVERAGE_POOL_2D BIDIRECTIONAL_SEQUENCE_LSTM BIDIRECTIONAL_SEQUENCE_RNN
        BROADCAST_TO EMBEDDING_LOOKUP FLOOR_DIV GREATER_EQUAL LESS LOGISTIC MAX_POOL_2D MEAN
        MIRROR_PAD NOT_EQUAL QUANTIZE REDUCE_MAX REDUCE_MIN RELU RELU6 REVERSE_V2 RNN SOFTMAX
        SPARSE_TO_DENSE TANH TILE TOPK_V2 UNIDIRECTIONAL_SEQUENCE_RNN"""),
    (4, """BATCH_MATMUL BATCH_TO_SPACE_ND CONCATENATION EQUAL FILL GATHER_ND LSTM MAXIMUM MINIMUM
        PACK PAD PADV2 RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR SELECT SPACE_TO_BATCH_ND SPLIT SVDF
        TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK"""),
    (5, "ABS ADD CAST DEQUANTIZE SUB"),
    (6, "GATHER SLICE TRANSPOSE"),
    (7, "CONV_2D DEPTHWISE_CONV_2D MUL"),
    (8, "STRIDED_SLICE"),
    (10, "FULLY_CONNECTED"),
)  # fmt: skip

# ai-edge-litert 2.3.0 for Linux, measured in the same way: all of the above and newer versions.
_LITERT_2_3 = _TFLITE_2_14 | _table(
    (1, "DILATE REDUCE_WINDOW"),
    (2, "COS LOG SIN SQRT"),
    (3, "GELU RSQRT SPLIT_V"),
    (4, "BROADCAST_TO NOT_EQUAL REVERSE_V2 SOFTMAX"),
    (5, "EMBEDDING_LOOKUP EQUAL FILL PACK SPLIT TRANSPOSE_CONV"),
    (6, "ADD DYNAMIC_UPDATE_SLICE GATHER_ND PAD PADV2 QUANTIZE UNPACK"),
    (7, "CONCATENATION"),
    (8, "CONV_2D GATHER MUL SLICE"),
    (9, "CAST DEQUANTIZE TRANSPOSE"),
    (14, "FULLY_CONNECTED"),
)

# tflite-micro 0.dev20261023182759, measured in the same way on its Python interpreter; agrees with
# python/tflite_micro/python_ops_resolver.cc of github.com/tensorflow/tflite-micro, which has added
# operators since. It ignores versions.
_MICRO = _table(
    (ANY, """ABS ADD ADD_N ARG_MAX ARG_MIN ASSIGN_VARIABLE AVERAGE_POOL_2D BATCH_MATMUL
        BATCH_TO_SPACE_ND BROADCAST_ARGS BROADCAST_TO CALL_ONCE CAST CEIL CONCATENATION CONV_2D COS
        CUMSUM DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV DYNAMIC_UPDATE_SLICE ELU
        EMBEDDING_LOOKUP EQUAL EXP EXPAND_DIMS FILL FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER
        GATHER_ND GREATER GREATER_EQUAL HARD_SWISH IF L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LESS
        LESS_EQUAL LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC LOG_SOFTMAX MAXIMUM MAX_POOL_2D
        MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL PACK PAD PADV2 PRELU QUANTIZE READ_VARIABLE
        REDUCE_ALL REDUCE_MAX REDUCE_MIN RELU RELU6 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR
        REVERSE_V2 ROUND RSQRT SELECT_V2 SHAPE SIN SLICE SOFTMAX SPACE_TO_BATCH_ND SPACE_TO_DEPTH
        SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM SVDF TANH
        TRANSPOSE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK VAR_HANDLE WHILE
        ZEROS_LIKE"""),
)  # fmt: skip

# coral.ai/docs/edgetpu/models-intro, "Supported operations". The `compiler_age` rule checks
# versions instead. DEQUANTIZE is not on that list: at the end of a graph it runs on the CPU.
_EDGE_TPU = _table(
    (ANY, """DEQUANTIZE
        ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D EXPAND_DIMS FULLY_CONNECTED
        L2_NORMALIZATION LOGISTIC UNIDIRECTIONAL_SEQUENCE_LSTM MAXIMUM MAX_POOL_2D MEAN MINIMUM MUL
        PACK PAD PRELU QUANTIZE REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_N1_TO_1 RESHAPE
        RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RSQRT SLICE SOFTMAX SPACE_TO_DEPTH SPLIT
        SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM TANH TRANSPOSE TRANSPOSE_CONV"""),
)  # fmt: skip

# tensorflow/lite/tools/versioning/gpu_compatibility.cc of github.com/tensorflow/tensorflow.
_GPU = _table(
    (ANY, """ABS ADD ADD_N ATAN2 AVERAGE_POOL_2D BATCH_MATMUL CAST CEIL CONCATENATION CONV_2D COS
        CUMSUM DENSIFY DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV DYNAMIC_UPDATE_SLICE ELU
        EMBEDDING_LOOKUP EQUAL EXP FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GELU GREATER
        GREATER_EQUAL HARD_SWISH LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND LOGISTIC LSTM MAXIMUM
        MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL ONE_HOT PACK PAD PADV2 POW PRELU
        QUANTIZE REDUCE_MAX REDUCE_MIN REDUCE_PROD RELU RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR
        RESIZE_NEAREST_NEIGHBOR RSQRT SELECT SELECT_V2 SIGN SIN SLICE SOFTMAX SPACE_TO_DEPTH SPLIT
        SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE STRIDED_SLICE SUB SUM TANH TILE TRANSPOSE
        TRANSPOSE_CONV"""),
)  # fmt: skip

# Data types that an operator does not take as its first input, though the runtime has the operator.
_NOT_IN_2_14 = {
    "DIV": ("int8",),
    "GELU": ("int16",),
    "TILE": ("int16",),
    "RSQRT": ("int16",),
    "SQUARED_DIFFERENCE": ("int16",),
}
_NOT_IN_LITERT = {"SQUARED_DIFFERENCE": ("int16",)}
_NOT_IN_MICRO = {
    **dict.fromkeys(("COS", "EXP", "LOG", "SIN", "SQRT", "SQUARE"), ("int8", "int16")),
    "GATHER": ("int16",),
    "MIRROR_PAD": ("int16",),
    "REDUCE_MAX": ("int16",),
    "REDUCE_MIN": ("int16",),
    "RESIZE_BILINEAR": ("int16",),
    # This operator converts weights stored in half precision to floats.
    "DEQUANTIZE": ("float16",),
}


# Operators outside the builtin set that a runtime includes anyway, measured on the runtimes named
# above with graphs of one node.
_CUSTOM_IN_2_14 = ("AudioSpectrogram", "Mfcc", "NumericVerify", "TFLite_Detection_PostProcess")
_CUSTOM_IN_LITERT = (*_CUSTOM_IN_2_14, "aeq.hadamard_rotation", "odml.scaled_dot_product_attention")
_CUSTOM_IN_MEDIAPIPE = (
    *_CUSTOM_IN_LITERT, "Convolution2DTransposeBias", "KmeansEmbeddingLookup",
    "MaxPoolingWithArgmax2D", "MaxUnpooling2D",
)  # fmt: skip
_CUSTOM_IN_MICRO = (
    "CIRCULAR_BUFFER", "SignalDelay", "SignalEnergy", "SignalFftAutoScale", "SignalFilterBank",
    "SignalFilterBankLog", "SignalFilterBankSpectralSubtraction", "SignalFilterBankSquareRoot",
    "SignalFramer", "SignalIrfft", "SignalOverlapAdd", "SignalPCAN", "SignalRfft", "SignalStacker",
    "SignalWindow", "TFLite_Detection_PostProcess",
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A device runtime.

    Attributes:
        name: Name for the `targets` argument.
        title: Display name and version.
        operators: The newest supported version of each builtin operator.
        refused_types: Data types that an operator does not take as its first input.
        custom: Supported operators outside the builtin set.
        rules: Names of further rules, see `keras_dlcourse.export.checking.target_rules`.
        module: The Python module that runs the file in a trial, if it is installed.
        source: Where the table comes from, as text for the report.
    """

    name: str
    title: str
    operators: Mapping[str, int]
    refused_types: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    custom: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    module: str | None = None
    source: str = "table measured on the runtime"


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            "ai-edge-litert",
            "ai-edge-litert 2.3 (desktop, Android, 64-bit boards)",
            _LITERT_2_3,
            _NOT_IN_LITERT,
            _CUSTOM_IN_LITERT,
            rules=("same_type",),
            module="ai_edge_litert",
        ),
        Target(
            "tflite-runtime",
            "tflite-runtime 2.14 (older boards)",
            _TFLITE_2_14,
            _NOT_IN_2_14,
            _CUSTOM_IN_2_14,
            rules=("same_type", "reliable_versions", "hybrid_transpose"),
            module="tflite_runtime",
        ),
        Target(
            "mediapipe",
            "MediaPipe Tasks image classifier, segmenter or object detector (Android, iOS, web)",
            _LITERT_2_3,
            _NOT_IN_LITERT,
            _CUSTOM_IN_MEDIAPIPE,
            rules=(
                "same_type",
                "one_graph",
                "image_input",
                "scores_output",
                "mask_output",
                "detector_output",
            ),
            source="rules measured on mediapipe 1.2.2",
        ),
        Target(
            "tflite-micro",
            "TensorFlow Lite Micro (microcontrollers)",
            _MICRO,
            _NOT_IN_MICRO,
            _CUSTOM_IN_MICRO,
            rules=("same_type", "no_hybrid", "static_shapes", "one_scale"),
            module="tflite_micro",
        ),
        Target(
            "edge-tpu",
            "Coral Edge TPU, after edgetpu_compiler",
            _EDGE_TPU,
            rules=("eight_bit", "static_shapes", "compiler_age"),
            source="published list, not tried",
        ),
        Target(
            "gpu-delegate",
            "GPU delegate of TensorFlow Lite (phones), entirely on the GPU",
            _GPU,
            rules=("gpu_types", "static_shapes"),
            source="published list, not tried",
        ),
    )
}

# Fixes for an operator that a runtime lacks.
FIXES: dict[str, str] = {
    "GELU": "use the activation 'relu6' or 'hard_silu' instead",
    "SELECT": "use the activation 'relu6' or 'elu' instead of 'selu'",
    "TILE": "resize with UpSampling2D(interpolation='bilinear'), or a Conv2DTranspose, instead of "
    "UpSampling2D(interpolation='nearest')",
    "ELU": "use the activation 'relu6' instead",
    "EXP": "use the activation 'relu6' or 'hard_silu' instead of one that computes exp",
    "LOG": "use the activation 'relu6' or 'hard_silu' instead of one that computes log",
    "WHILE": "build the recurrent layer with unroll=True",
    "HARD_SWISH": "use the activation 'relu6' instead",
    "LEAKY_RELU": "use the activation 'relu6' instead",
    "LOG_SOFTMAX": "end the model in logits or softmax, and compute the logarithm outside it",
    "SELECT_V2": "write the condition as a multiplication, or use the activation 'relu6'",
    "NON_MAX_SUPPRESSION_V4": "export the detector with nms='outside'",
    "FULLY_CONNECTED": "export again with this package, which writes a version that older runtimes "
    "support",
}
DEFAULT_FIX = (
    "rewrite the layer with convolution, dense, arithmetic, pooling or reshaping, or end the "
    "exported model before it and compute the rest outside"
)
