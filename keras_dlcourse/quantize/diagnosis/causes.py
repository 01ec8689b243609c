"""Why a layer loses accuracy in integers: one rule per cause, with its evidence and fix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_dlcourse.edge.tflite.graph import Operator, Tensor
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.edge.tflite.quantization import dequantize
from keras_dlcourse.quantize.diagnosis.comparison import LayerSums, code_limits

# Below this, rounding one layer alone is investigated. Eight bits give 30 to 40 dB.
SUSPICIOUS_DB = 25.0

CLIPPED_ENERGY = 0.3  # fraction of the layer's own error that lies beyond the range
CLIPPED_NUMBERS = 1e-3  # a few rare values may be sacrificed for a finer step
NARROW_USE = 0.15  # fraction of the codes that 99.9 % of the values use
OUTLIER = 8.0  # multiple of the median range
WASTED = 0.75  # fraction of the range that the following activation discards
DISTURBED_DB = 15.0  # inputs noisier than this say little about an operator's own error
BIAS_ENERGY = 0.4  # fraction of the layer's own error that is the same for all examples
SATURATED_WEIGHTS = 1e-3

KERNELS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": -1, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0}
"""Operators whose second input is a kernel, and the kernel's output-channel axis."""

ACTIVATIONS = (
    "RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LEAKY_RELU", "PRELU",
    "HARD_SWISH", "LOGISTIC", "GELU", "ELU", "TANH",
)  # fmt: skip
"""Elementwise activation operators."""


@dataclass(frozen=True)
class Cause:
    """Why a layer loses accuracy.

    Attributes:
        name: The name of the cause, e.g. `"outlier channel"`.
        evidence: The measurement behind it, as a sentence.
        fix: How to fix it, one of `FIXES`.
    """

    name: str
    evidence: str
    fix: str

    def __str__(self) -> str:
        return f"{self.name}: {self.evidence}. {FIXES[self.fix]}"


FIXES: dict[str, str] = {
    "equalize": "Equalize the channels with equalize(model) before exporting again",
    "min_max": "Measure the range again on more data that resembles the data in use: "
    "after_training(..., calibrator='min_max')",
    "percentile": "Sacrifice the rarest values: "
    "after_training(..., calibrator='percentile', percentile=99)",
    "per_channel": "Export again with one scale per channel: to_tflite or after_training",
    "replace_activation": "Use an activation that integers support and that is fused into the "
    "preceding layer: replace_activations(model, {...: 'relu6'}), then train briefly",
    "bias_correction": "Subtract the mean error from the bias: correct_bias(model, data)",
    "leave_in_float": "Leave it in float: after_training(..., mixed=...)",
}
"""Maps the name of each fix to instructions."""


@dataclass(frozen=True)
class Evidence:
    """The input of the rules: one layer in both files.

    Attributes:
        float_file: The float file.
        integer_file: The integer file.
        float_operator: The layer's operator in the float file.
        operator: The layer's operator in the integer file.
        sums: The measurements.
        readers: The operators that read the layer, each with the ratio of noise to signal that the
            layer's own error causes in its output.
        alone_db: SQNR after this layer if only this layer were rounded, in dB.
        inputs_db: SQNR of the layer's inputs, in dB.
    """

    float_file: ModelFile
    integer_file: ModelFile
    float_operator: Operator
    operator: Operator
    sums: LayerSums
    readers: tuple[tuple[Operator, float], ...]
    alone_db: float
    inputs_db: float

    @property
    def tensor(self) -> Tensor:
        """The layer's output in the integer file."""
        return self.integer_file.tensors[self.operator.outputs[0]]

    @property
    def own_error(self) -> float:
        """The energy of the error that originates in this layer."""
        return float(self.sums.own.sum())


def find_causes(evidence: Evidence) -> tuple[Cause, ...]:
    """Return the causes found for a layer, the most certain first; empty for a healthy layer."""
    if (island := float_island(evidence)) is not None:
        return (island,)
    if evidence.alone_db >= SUSPICIOUS_DB:
        return ()
    found = tuple(cause for rule in RULES if (cause := rule(evidence)))
    if found or evidence.inputs_db < DISTURBED_DB:
        return found
    if (biased := bias_error(evidence)) is not None:
        return (biased,)
    measured = f"rounding only this layer gives {evidence.alone_db:.1f} dB"
    return (Cause("sensitive layer", measured, "leave_in_float"),)


def float_island(evidence: Evidence) -> Cause | None:
    """An operator without an integer kernel, between operators that have one."""
    tensor = evidence.tensor
    if not tensor.dtype.startswith("float") or not _has_integers(evidence.integer_file):
        return None
    name = evidence.operator.name
    return Cause(
        "float island",
        f"{name} computes in float between integer operators",
        "replace_activation" if name in ACTIVATIONS else "leave_in_float",
    )


def saturated_weights(evidence: Evidence) -> Cause | None:
    """Weights too large for the kernel's scale."""
    kernels = _kernels(evidence)
    if kernels is None:
        return None
    exact, stored, tensor = kernels
    limit = np.iinfo(tensor.dtype).max
    beyond = np.abs(exact) > np.abs(dequantize(stored, tensor)) + _steps(tensor, exact.ndim)
    share = float((beyond & (np.abs(stored.astype("int32")) >= limit)).mean())
    if share < SATURATED_WEIGHTS:
        return None
    return Cause(
        "saturated weights",
        f"{share:.1%} of the weights exceed the largest value that the kernel's scale can hold",
        "per_channel",
    )


def one_scale(evidence: Evidence) -> Cause | None:
    """Filters of very different magnitudes that share one scale."""
    kernels = _kernels(evidence)
    if kernels is None or len(kernels[2].scales) != 1:
        return None
    sizes = _group_by_filter(np.abs(kernels[0]), evidence.operator.name).max(1)
    spread = float(sizes.max() / max(np.median(sizes), 1e-30))
    if len(sizes) < 2 or spread < OUTLIER:
        return None
    return Cause(
        "one scale for all channels",
        f"the kernel has one scale, but its largest filter (channel {int(sizes.argmax())}) is "
        f"{spread:.0f} times the median",
        "per_channel",
    )


def clipped_range(evidence: Evidence) -> Cause | None:
    """Values beyond the measured range."""
    sums, limits = evidence.sums, code_limits(evidence.tensor)
    if limits is None:
        return None
    share = sums.outside / max(sums.count * len(sums.low), 1)
    if share < CLIPPED_NUMBERS or sums.clipped < CLIPPED_ENERGY * evidence.own_error:
        return None
    return Cause(
        "range clipped",
        f"{share:.1%} of the values lie outside {limits[0]:.3g} to {limits[1]:.3g}; they range "
        f"from {sums.low.min():.3g} to {sums.high.max():.3g}",
        "min_max",
    )


def outlier_channel(evidence: Evidence) -> Cause | None:
    """One channel that dominates the range."""
    sums = evidence.sums
    sizes = np.maximum(np.abs(sums.low), np.abs(sums.high))
    spread = float(sizes.max() / max(np.median(sizes), 1e-30))
    if len(sizes) < 3 or spread < OUTLIER:
        return None
    return Cause(
        "outlier channel",
        f"channel {int(sizes.argmax())} reaches {sizes.max():.3g}, {spread:.0f} times the median "
        "of the channels",
        "equalize",
    )


def wide_range(evidence: Evidence) -> Cause | None:
    """A range of which nearly all values use only a small part."""
    used = codes_in_use(evidence.sums, evidence.tensor)
    if used is None or used > NARROW_USE or evidence.operator.name in ("SOFTMAX", "LOGISTIC"):
        return None
    return Cause(
        "range too wide",
        f"99.9 % of the values use only {used:.0%} of the codes",
        "percentile",
    )


def unfused_activation(evidence: Evidence) -> Cause | None:
    """A range that the following activation mostly discards."""
    limits = code_limits(evidence.tensor)
    if limits is None or evidence.operator.name in ACTIVATIONS:
        return None
    wasted = -limits[0] / (limits[1] - limits[0])
    for reader, noise in evidence.readers:
        if reader.name not in ACTIVATIONS[:8] or wasted < WASTED:
            continue
        if noise > evidence.own_error / max(float(evidence.sums.signal.sum()), 1e-30):
            return Cause(
                "unfused activation",
                f"{wasted:.0%} of the range is negative and is discarded by {reader.name}, a "
                "separate operator after the layer",
                "replace_activation",
            )
    return None


def bias_error(evidence: Evidence) -> Cause | None:
    """An error that is the same for all examples."""
    sums = evidence.sums
    constant = sums.own_bias**2 / max(sums.count, 1)
    share = float(constant.sum()) / max(evidence.own_error, 1e-30)
    scales = evidence.tensor.scales
    if share < BIAS_ENERGY or not scales:
        return None
    worst = int(np.argmax(constant))
    mean = sums.own_bias[worst] / max(sums.count, 1)
    return Cause(
        "bias error",
        f"channel {worst} is off by {mean / scales[0]:+.1f} steps on average, and {share:.0%} of "
        "the layer's error is constant",
        "bias_correction",
    )


RULES: tuple[Callable[[Evidence], Cause | None], ...] = (
    saturated_weights,
    one_scale,
    clipped_range,
    unfused_activation,
    outlier_channel,
    wide_range,
)


def codes_in_use(sums: LayerSums, tensor: Tensor, share: float = 0.999) -> float | None:
    """Return the fraction of codes that nearly all values use; None unless there are 8 bits."""
    total = int(sums.codes.sum())
    if not total or not tensor.scales:
        return None
    cumulative = np.cumsum(sums.codes) / total
    low = int(np.searchsorted(cumulative, (1 - share) / 2, side="right"))
    high = int(np.searchsorted(cumulative, (1 + share) / 2, side="left"))
    return (high - low + 1) / 256


def _has_integers(file: ModelFile) -> bool:
    written = (file.tensors[index] for op in file.operators for index in op.outputs)
    return any(tensor.dtype in ("int8", "uint8", "int16") for tensor in written)


def _kernels(evidence: Evidence) -> tuple[np.ndarray, np.ndarray, Tensor] | None:
    """Return the float kernel, the stored integer one and its tensor, if the layer has one."""
    if evidence.operator.name not in KERNELS:
        return None
    exact = evidence.float_file.tensors[evidence.float_operator.inputs[1]]
    tensor = evidence.integer_file.tensors[evidence.operator.inputs[1]]
    if not (exact.is_constant and tensor.is_constant and tensor.scales):
        return None
    if exact.shape != tensor.shape or exact.dtype != "float32" or tensor.dtype != "int8":
        return None
    return _values(exact), _values(tensor), tensor


def _values(tensor: Tensor) -> np.ndarray:
    return np.frombuffer(tensor.data, tensor.dtype).reshape(tensor.shape)


def _steps(tensor: Tensor, dimensions: int) -> np.ndarray:
    shape = [1] * dimensions
    if len(tensor.scales) > 1:
        shape[tensor.quantized_dimension] = -1
    return np.asarray(tensor.scales).reshape(shape)


def _group_by_filter(kernel: np.ndarray, operator: str) -> np.ndarray:
    """Return a matrix with one row per output channel."""
    moved = np.moveaxis(kernel, KERNELS[operator], 0)
    return moved.reshape(len(moved), -1)
