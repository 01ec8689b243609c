"""Field slots and codes of the TFLite model schema and of TFLite metadata.

There is one class per table; a slot is the position of a field in the table's declaration. Shared
by the readers (`keras_dlcourse.edge.tflite.model_file`) and writers (`keras_dlcourse.export`).

Reference: schema.fbs of TensorFlow Lite (identifier TFL3) and metadata_schema.fbs of
tflite-support and MediaPipe (identifier M001), both Apache-2.0.
"""

from __future__ import annotations

MODEL_IDENTIFIER = b"TFL3"
METADATA_IDENTIFIER = b"M001"
METADATA_NAME = "TFLITE_METADATA"
MIN_RUNTIME_NAME = "min_runtime_version"


# --- the model -----------------------------------------------------------------------------------


class Model:
    """Slots of the root table of a `.tflite` file."""

    VERSION, OPERATOR_CODES, SUBGRAPHS, DESCRIPTION, BUFFERS, METADATA_BUFFER, METADATA = range(7)
    SIGNATURE_DEFS, EXTERNAL_BUFFER_GROUPS, EXTERNAL_BUFFERS = range(7, 10)


class OperatorCode:
    """Slots of a kind of operator; codes up to 126 are in both code fields."""

    DEPRECATED_BUILTIN_CODE, CUSTOM_CODE, VERSION, BUILTIN_CODE = range(4)


class SubGraph:
    """Slots of a graph of operators over tensors."""

    TENSORS, INPUTS, OUTPUTS, OPERATORS, NAME = range(5)


class Tensor:
    """Slots of a tensor; the values of a constant are in a buffer."""

    SHAPE, TYPE, BUFFER, NAME, QUANTIZATION, IS_VARIABLE, SPARSITY, SHAPE_SIGNATURE = range(8)
    HAS_RANK, VARIANT_TENSORS, EXTERNAL_BUFFER = range(8, 11)


class Quantization:
    """Slots of QuantizationParameters: real = scale * (stored - zero point)."""

    MIN, MAX, SCALE, ZERO_POINT, DETAILS_TYPE, DETAILS, QUANTIZED_DIMENSION = range(7)


class CustomQuantization:
    """Slot of the data of a custom quantization, which runtimes do not know."""

    CUSTOM = 0


class VariantTensor:
    """Slots of the content type of a variant tensor."""

    SHAPE, TYPE, HAS_RANK = range(3)


class Sparsity:
    """Slots of the storage format of a sparse tensor."""

    TRAVERSAL_ORDER, BLOCK_MAP, DIMENSIONS = range(3)


class SparseDimension:
    """Slots of the format of one sparse dimension, and the (type, vector) slots of its unions."""

    FORMAT, DENSE_SIZE, SEGMENTS_TYPE, SEGMENTS, INDICES_TYPE, INDICES = range(6)
    VECTORS = ((SEGMENTS_TYPE, SEGMENTS), (INDICES_TYPE, INDICES))


class SparseVector:
    """Slot of the values, and their `struct` codes by the code of the union."""

    VALUES = 0
    CODES = {1: "i", 2: "H", 3: "B"}


class Operator:
    """Slots of one step of a graph; -1 among the inputs is an omitted input."""

    OPCODE_INDEX, INPUTS, OUTPUTS, BUILTIN_OPTIONS_TYPE, BUILTIN_OPTIONS, CUSTOM_OPTIONS = range(6)
    CUSTOM_OPTIONS_FORMAT, MUTATING_VARIABLE_INPUTS, INTERMEDIATES = range(6, 9)
    LARGE_CUSTOM_OPTIONS_OFFSET, LARGE_CUSTOM_OPTIONS_SIZE = range(9, 11)
    BUILTIN_OPTIONS_2_TYPE, BUILTIN_OPTIONS_2, DEBUG_METADATA_INDEX = range(11, 14)


class Buffer:
    """Slots of a buffer; `OFFSET` above 1 means data after the flatbuffer, for large files."""

    DATA, OFFSET, SIZE = range(3)


class Metadata:
    """Slots of a named buffer."""

    NAME, BUFFER = range(2)


class SignatureDef:
    """Slots of a named entry point."""

    INPUTS, OUTPUTS, SIGNATURE_KEY, _, SUBGRAPH_INDEX = range(5)


class TensorMap:
    """Slots of a named tensor of a signature."""

    NAME, TENSOR_INDEX = range(2)


# Name and bits of each tensor type by code; 0 bits if the size is not fixed.
TENSOR_TYPES: tuple[tuple[str, int], ...] = (
    ("float32", 32),
    ("float16", 16),
    ("int32", 32),
    ("uint8", 8),
    ("int64", 64),
    ("string", 0),
    ("bool", 8),
    ("int16", 16),
    ("complex64", 64),
    ("int8", 8),
    ("float64", 64),
    ("complex128", 128),
    ("uint64", 64),
    ("resource", 0),
    ("variant", 0),
    ("uint32", 32),
    ("uint16", 16),
    ("int4", 4),
    ("bfloat16", 16),
    ("int2", 2),
    ("uint4", 4),
    ("float8_e4m3fn", 8),
    ("float8_e5m2", 8),
)

# Names of the builtin operators in the order of their codes.
_BUILTIN_OPERATORS = """
    ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE
    EMBEDDING_LOOKUP FLOOR FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D
    LOCAL_RESPONSE_NORMALIZATION LOGISTIC LSH_PROJECTION LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1
    RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH SVDF TANH CONCAT_EMBEDDINGS
    SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER
    BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE
    UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT
    LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM ARG_MAX MINIMUM LESS NEG
    PADV2 GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE TILE
    EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD
    REDUCE_MAX PACK LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV
    REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR LEAKY_RELU
    SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND COS WHERE
    RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND HARD_SWISH IF WHILE
    NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM
    BATCH_MATMUL PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D
    IMAG REAL COMPLEX_ABS HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL
    CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE BROADCAST_ARGS
    RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU DYNAMIC_UPDATE_SLICE
    RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2
    UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR RIGHT_SHIFT STABLEHLO_LOGISTIC STABLEHLO_ADD
    STABLEHLO_DIVIDE STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM STABLEHLO_RESHAPE STABLEHLO_CLAMP
    STABLEHLO_CONCATENATE STABLEHLO_BROADCAST_IN_DIM STABLEHLO_CONVOLUTION STABLEHLO_SLICE
    STABLEHLO_CUSTOM_CALL STABLEHLO_REDUCE STABLEHLO_ABS STABLEHLO_AND STABLEHLO_COSINE
    STABLEHLO_EXPONENTIAL STABLEHLO_FLOOR STABLEHLO_LOG STABLEHLO_MINIMUM STABLEHLO_NEGATE
    STABLEHLO_OR STABLEHLO_POWER STABLEHLO_REMAINDER STABLEHLO_RSQRT STABLEHLO_SELECT
    STABLEHLO_SUBTRACT STABLEHLO_TANH STABLEHLO_SCATTER STABLEHLO_COMPARE STABLEHLO_CONVERT
    STABLEHLO_DYNAMIC_SLICE STABLEHLO_DYNAMIC_UPDATE_SLICE STABLEHLO_PAD STABLEHLO_IOTA
    STABLEHLO_DOT_GENERAL STABLEHLO_REDUCE_WINDOW STABLEHLO_SORT STABLEHLO_WHILE
    STABLEHLO_GATHER STABLEHLO_TRANSPOSE DILATE STABLEHLO_RNG_BIT_GENERATOR REDUCE_WINDOW
    STABLEHLO_COMPOSITE STABLEHLO_SHIFT_LEFT STABLEHLO_CBRT STABLEHLO_CASE
    """
BUILTIN_OPERATORS: tuple[str, ...] = tuple(_BUILTIN_OPERATORS.split())
CUSTOM = BUILTIN_OPERATORS.index("CUSTOM")


# --- its metadata --------------------------------------------------------------------------------


class ModelMetadata:
    """Slots of the root table of the metadata."""

    NAME, DESCRIPTION, VERSION, SUBGRAPH_METADATA, AUTHOR, LICENSE = range(6)
    ASSOCIATED_FILES, MIN_PARSER_VERSION = range(6, 8)


class SubGraphMetadata:
    """Slots of the metadata of a graph's inputs and outputs, in order."""

    NAME, DESCRIPTION, INPUT_TENSOR_METADATA, OUTPUT_TENSOR_METADATA, ASSOCIATED_FILES = range(5)
    CUSTOM_METADATA = 9


class CustomMetadata:
    """Slots of what a task of MediaPipe needs to know: a flatbuffer inside this one."""

    NAME, DATA = range(2)
    SEGMENTER, DETECTOR = "SEGMENTER_METADATA", "DETECTOR_METADATA"
    IDENTIFIER = b"V001"


class ImageSegmenterOptions:
    """Slots of the root of the custom metadata of a segmenter."""

    ACTIVATION, MIN_PARSER_VERSION = range(2)


class ObjectDetectorOptions:
    """Slots of the root of the custom metadata of a detector."""

    MIN_PARSER_VERSION, SSD_ANCHORS_OPTIONS, TENSORS_DECODING_OPTIONS = range(3)


class SsdAnchorsOptions:
    """Slot of the anchors, and in its table the slot of their list."""

    FIXED_ANCHORS_SCHEMA = 0
    ANCHORS = 0


class FixedAnchor:
    """Slots of an anchor, in shares of the image."""

    X_CENTER, Y_CENTER, WIDTH, HEIGHT = range(4)


class TensorsDecodingOptions:
    """Slots of how boxes and scores follow from the outputs."""

    NUM_CLASSES, NUM_BOXES, NUM_COORDS = range(3)
    KEYPOINT_COORD_OFFSET, NUM_KEYPOINTS, NUM_VALUES_PER_KEYPOINT = range(3, 6)
    X_SCALE, Y_SCALE, W_SCALE, H_SCALE = range(6, 10)
    APPLY_EXPONENTIAL_ON_BOX_SIZE, SIGMOID_SCORE = range(10, 12)


class TensorMetadata:
    """Slots of the metadata of an input or output."""

    NAME, DESCRIPTION, DIMENSION_NAMES, CONTENT, PROCESS_UNITS, STATS, ASSOCIATED_FILES = range(7)


class Content:
    """Slots of the content of a tensor: a union of the properties below."""

    PROPERTIES_TYPE, PROPERTIES, RANGE = range(3)


class ContentProperties:
    """Codes of the union in `Content`."""

    NONE, FEATURE, IMAGE, BOUNDING_BOX, AUDIO = range(5)


class ImageProperties:
    """Slots of the metadata of an image."""

    COLOR_SPACE, DEFAULT_SIZE = range(2)


class ImageSize:
    """Slots of a size in pixels."""

    WIDTH, HEIGHT = range(2)


class BoundingBoxProperties:
    """Slots of the format of a box."""

    INDEX, TYPE, COORDINATE_TYPE = range(3)


class BoundingBoxType:
    """Codes of the meaning of the four values, in default order."""

    UNKNOWN, BOUNDARIES, UPPER_LEFT, CENTER = range(4)


class CoordinateType:
    """Codes of the unit of a box."""

    RATIO, PIXEL = range(2)


class ColorSpace:
    """Codes of ColorSpaceType."""

    UNKNOWN, RGB, GRAYSCALE = range(3)


class ProcessUnit:
    """Slots of a step before or after the graph: a union of the options below."""

    OPTIONS_TYPE, OPTIONS = range(2)


class ProcessUnitOptions:
    """Codes of the union in `ProcessUnit`."""

    NONE, NORMALIZATION, SCORE_CALIBRATION, SCORE_THRESHOLDING = range(4)


class NormalizationOptions:
    """Slots: (pixel - mean) / std, one value or one per channel."""

    MEAN, STD = range(2)


class ScoreCalibrationOptions:
    """Slots of the sigmoid calibration, whose parameters are in an associated file."""

    SCORE_TRANSFORMATION, DEFAULT_SCORE = range(2)


class ScoreTransformation:
    """Codes of ScoreTransformationType."""

    IDENTITY, LOG, INVERSE_LOGISTIC = range(3)


class ScoreThresholdingOptions:
    """Slot of the score below which results are omitted."""

    GLOBAL_SCORE_THRESHOLD = 0


class Stats:
    """Slots of the range of a tensor's values, one value or one per channel."""

    MAX, MIN = range(2)


class AssociatedFile:
    """Slots of a file that is appended to the model in a zip archive."""

    NAME, DESCRIPTION, TYPE, LOCALE, VERSION = range(5)


class AssociatedFileType:
    """Codes of the kind of an associated file."""

    UNKNOWN, DESCRIPTIONS, TENSOR_AXIS_LABELS, TENSOR_VALUE_LABELS = range(4)
    TENSOR_AXIS_SCORE_CALIBRATION, VOCABULARY, SCANN_INDEX_FILE = range(4, 7)
