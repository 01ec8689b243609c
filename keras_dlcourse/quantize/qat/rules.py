"""Quantization rules for each kind of layer, in one table that users can extend.

A rule states which weights are rounded and along which axis each index has its own scale, where
the range of the output comes from, and which layers may be fused: integer kernels apply batch
normalization and ReLU to their accumulator, so nothing is rounded between them. The rule of a
composite layer expands it into simpler layers that compute the same and have their own rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_dlcourse import layers
from keras_dlcourse.graph.flat import open_block
from keras_dlcourse.graph.kernel_layers import split_separable
from keras_dlcourse.layers._remade import activation_name
from keras_dlcourse.layers.blocks._composite import CompositeLayer
from keras_dlcourse.quantize.qat import opening, recurrence

Axis = int | tuple[int, ...]


@dataclass(frozen=True)
class Rule:
    """How one layer is quantized.

    Attributes:
        weights: Maps the attribute name of each rounded weight to its axis of output channels,
            which has one scale per index; to several axes if they form the channels together.
        output: Where the range of the output comes from: `"range"` (observed), two values (fixed
            by the kernel), `"input"` (the range of the input, to which the result is rounded, as in
            average pooling), or `"exact"` (the range of the input, whose values are only moved, as
            in reshaping).
        fuses: Kinds of layers that the kernel applies before rounding: `"scale"` (batch
            normalization) and `"relu"`.
        fused_as: How this layer is fused into the preceding kernel: `"scale"`, `"relu"` or None.
        joins: Whether the inputs take the range of the output, as in concatenation and clipping: a
            kernel that is read only by this layer rounds to that range directly.
        opens: For a composite layer, a function that takes the arguments of the call and computes
            the same with simpler layers.
        reason: Why the layer stays in float; empty if it does not.
        walled: For a layer that stays in float, whether the converter must be prevented from
            quantizing it. Not needed if no integer kernel exists.
    """

    weights: Mapping[str, Axis] = field(default_factory=dict)
    output: str | tuple[float, float] = "range"
    fuses: tuple[str, ...] = ()
    fused_as: str | None = None
    joins: bool = False
    opens: Callable[..., Any] | None = None
    reason: str = ""
    walled: bool = True


RuleMaker = Callable[[Any], Rule]

# Fixed output ranges: steps of 1/256 from 0 for probabilities, of 1/128 from -1 otherwise.
PROBABILITY = (0.0, 255 / 256)
SIGNED_UNIT = (-1.0, 127 / 128)

_ANY = Rule()
_EXACT = Rule(output="exact")
_ROUNDED = Rule(output="input")
_JOINED = Rule(joins=True)
_ARITHMETIC = Rule(fuses=("relu",))
_AFFINE = Rule(fuses=("relu",), fused_as="scale")
_RELU = Rule(fused_as="relu")


def rule(kind: type[keras.layers.Layer]) -> Callable[[RuleMaker], RuleMaker]:
    """Register how a kind of layer is quantized.

    Use it as a decorator of a function that takes a layer and returns a `Rule`. A rule for a class
    also applies to subclasses without their own rule.

    Args:
        kind: A Keras layer class.

    Returns:
        The decorator, which returns the function unchanged.

    Raises:
        TypeError: If `kind` is not a Keras layer class.

    Example:
        >>> class Projection(keras.layers.Layer):
        ...     def build(self, shape):
        ...         self.kernel = self.add_weight(name="kernel", shape=(shape[-1], 4))
        ...     def call(self, x):
        ...         return keras.ops.matmul(x, self.kernel)
        >>> @rule(Projection)
        ... def projection(layer):
        ...     return Rule(weights={"kernel": -1}, fuses=("scale", "relu"))
    """
    if not (isinstance(kind, type) and issubclass(kind, keras.layers.Layer)):
        raise TypeError(f"kind must be a Keras layer class. Received: {kind!r}")

    def register(maker: RuleMaker) -> RuleMaker:
        RULES[kind] = maker
        # Create the compressed class now, so that saved models can be loaded.
        layers.compressed_class(kind)
        return maker

    return register


def rule_for(operation: Any) -> Rule:
    """Return the rule of a layer or operation; without one, a rule that leaves it in float.

    Raises:
        ValueError: If a user's rule raises an error or does not return a `Rule`.
    """
    found = _find(operation)
    if found is None:
        return Rule(
            reason=f"there is no rule for {type(operation).__name__}; register one with "
            "@kd.quantize.rule"
        )
    if isinstance(found, Rule):
        return found
    try:
        made = found(operation)
    except Exception as error:
        raise ValueError(
            f"The quantization rule for {type(operation).__name__} raised "
            f"{type(error).__name__} on layer {operation.name!r}: {error}"
        ) from error
    if not isinstance(made, Rule):
        raise ValueError(
            f"The quantization rule for {type(operation).__name__} must return a "
            f"kd.quantize.Rule. Received: {made!r} for layer {operation.name!r}"
        )
    return made


def open_layer(operation: Any) -> Callable[..., Any] | None:
    """Return a function that computes a composite layer with simpler layers; None for others."""
    return rule_for(operation).opens


def _find(operation: Any) -> Rule | RuleMaker | None:
    if not isinstance(operation, keras.layers.Layer):
        return OPERATIONS.get(type(operation).__name__)
    for kind in type(operation).__mro__:
        if kind in RULES:
            return RULES[kind]
    return BY_NAME.get(type(operation).__name__)


def _leave_in_float(reason: str, walled: bool = True) -> Rule:
    return Rule(reason=reason, walled=walled)


# Rules of activations, by the name of the Keras function.
ACTIVATIONS: dict[str, Rule | RuleMaker] = {
    "linear": _EXACT,
    "relu": _RELU,
    "relu6": _RELU,
    "leaky_relu": _ANY,
    "gelu": _ANY,
    "hard_silu": _ANY,
    "sigmoid": Rule(output=PROBABILITY),
    "softmax": Rule(output=PROBABILITY),
    "tanh": Rule(output=SIGNED_UNIT),
    "silu": lambda layer: Rule(opens=opening.silu(layer)),
    "hard_sigmoid": lambda layer: Rule(opens=opening.hard_sigmoid(layer)),
}
_NO_KERNEL = "integer runtimes have no kernel for it; use ReLU, ReLU6, hard-swish or leaky ReLU"


def _activation(layer: Any) -> Rule:
    if isinstance(layer.activation, keras.layers.Layer):
        return Rule(opens=layer.activation)
    name = activation_name(layer.activation)
    if name in ACTIVATIONS:
        found = ACTIVATIONS[name]
        return found if isinstance(found, Rule) else found(layer)
    if hasattr(keras.activations, name):
        return _leave_in_float(f"{name}: {_NO_KERNEL}", walled=False)
    return _leave_in_float(
        f"{name} is a custom function; use a Keras activation, or turn it into a layer with a "
        "@kd.quantize.rule"
    )


def _relu(layer: Any) -> Rule:
    if layer.threshold:
        return _leave_in_float("a ReLU with a threshold has no integer kernel")
    if layer.negative_slope:
        return (
            _ANY
            if layer.max_value is None
            else _leave_in_float("a leaky ReLU with a maximum has none")
        )
    if layer.max_value in (None, 6.0):
        return _RELU
    # The end of the range clips just like the maximum.
    return Rule(output=(0.0, float(layer.max_value)), fused_as="relu")


def _kernel(**weights: Axis) -> RuleMaker:
    """Return the rule of a layer with kernels: its activation is fused or separated."""

    def make(layer: Any) -> Rule:
        activation = activation_name(layer.activation)
        if activation in ("relu", "relu6"):
            return Rule(weights=weights)
        if activation != "linear":
            return Rule(opens=opening.set_apart_activation(layer))
        return Rule(weights=weights, fuses=("scale", "relu"))

    return make


def _batch_normalization(layer: Any) -> Rule:
    axis = layer.axis[0] if isinstance(layer.axis, list | tuple) else layer.axis
    if axis not in (-1, layer.input_spec.ndim - 1):
        return _leave_in_float(f"it normalizes axis {axis}; integer kernels need channels last")
    return _AFFINE


def _layer_normalization(layer: Any) -> Rule:
    axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    last = len(layer.get_build_config()["input_shape"]) - 1
    if list(axes) not in ([-1], [last]) or getattr(layer, "rms_scaling", False):
        return _leave_in_float("only layer normalization of the last axis has an integer form")
    return Rule(opens=opening.layer_normalization(layer))


def _up_sampling(layer: Any) -> Rule:
    return _EXACT if getattr(layer, "interpolation", "nearest") == "nearest" else _ROUNDED


def _clip(operation: Any) -> Rule:
    """Clip by the ends of the output range where possible; ranges must include 0."""
    ends = operation.x_min, operation.x_max
    numbers = all(np.ndim(end) == 0 and not isinstance(end, keras.KerasTensor) for end in ends)
    if numbers and ends[0] <= 0 <= ends[1]:
        return _JOINED
    return _leave_in_float(
        "clipping needs a constant minimum of at most 0 and maximum of at least 0"
    )


def _einsum_dense(layer: Any) -> Rule:
    reason = opening.why_not_dense(layer)
    return _leave_in_float(reason) if reason else Rule(opens=opening.einsum_dense(layer))


def _attention(layer: Any) -> Rule:
    if tuple(layer._attention_axes) != (1,):
        return _leave_in_float("only attention over a single sequence axis has an integer form")
    return Rule(opens=opening.attention(layer))


def _recurrent(layer: Any) -> Rule:
    if not isinstance(layer, keras.layers.RNN):
        return _leave_in_float(
            "wrapped recurrent layers are not supported; use two, one with go_backwards"
        )
    reason = recurrence.why_not(layer)
    return _leave_in_float(reason) if reason else Rule(opens=recurrence.unroll(layer))


# Active only in training: at inference they return their input unchanged.
_AUGMENTING = [
    getattr(keras.layers, name)
    for name in dir(keras.layers)
    if name.startswith("Random") and name != "RandomCrop"
] + [
    keras.layers.AugMix,
    keras.layers.CutMix,
    keras.layers.MixUp,
    keras.layers.RandAugment,
    layers.RandomAffine,
    layers.Superimpose,
]

RULES: dict[type, Rule | RuleMaker] = {
    CompositeLayer: lambda layer: Rule(opens=open_block(layer)),
    layers.ImageDescription: _EXACT,
    layers.OutputDescription: _EXACT,
    keras.layers.Conv1D: _kernel(kernel=-1),
    keras.layers.Conv2D: _kernel(kernel=-1),
    keras.layers.DepthwiseConv1D: _kernel(kernel=(-2, -1)),
    keras.layers.DepthwiseConv2D: _kernel(kernel=(-2, -1)),
    keras.layers.Conv2DTranspose: _kernel(kernel=-2),
    keras.layers.Dense: _kernel(kernel=-1),
    keras.layers.SeparableConv1D: lambda layer: Rule(opens=split_separable(layer)),
    keras.layers.SeparableConv2D: lambda layer: Rule(opens=split_separable(layer)),
    keras.layers.BatchNormalization: _batch_normalization,
    keras.layers.LayerNormalization: _layer_normalization,
    keras.layers.UnitNormalization: lambda layer: Rule(opens=opening.unit_normalization(layer)),
    layers.L2Normalization: Rule(output=SIGNED_UNIT),
    layers.LocalResponseNormalization: _leave_in_float(
        "integer runtimes have no kernel for it; build the network with normalization='batch' "
        "(AlexNet) or None"
    ),
    layers.SparseConnectedConv2D: _leave_in_float(
        "its kernel is assembled at each call; quantization='int8' after training supports it"
    ),
    keras.layers.Rescaling: _AFFINE,
    keras.layers.Normalization: _AFFINE,
    layers.ChannelScale: _AFFINE,
    keras.layers.Activation: _activation,
    keras.layers.ReLU: _relu,
    keras.layers.LeakyReLU: _ANY,
    keras.layers.PReLU: _ANY,
    keras.layers.ELU: _leave_in_float(f"elu: {_NO_KERNEL}", walled=False),
    keras.layers.Softmax: Rule(output=PROBABILITY),
    keras.layers.Add: lambda layer: Rule(fuses=("relu",), opens=opening.combine_pairwise(layer)),
    keras.layers.Multiply: lambda layer: Rule(
        fuses=("relu",), opens=opening.combine_pairwise(layer)
    ),
    keras.layers.Subtract: _ARITHMETIC,
    keras.layers.Average: lambda layer: Rule(opens=opening.average(layer)),
    keras.layers.Maximum: lambda layer: Rule(joins=True, opens=opening.combine_pairwise(layer)),
    keras.layers.Minimum: lambda layer: Rule(joins=True, opens=opening.combine_pairwise(layer)),
    keras.layers.Concatenate: _JOINED,
    keras.layers.GlobalAveragePooling1D: _ANY,
    keras.layers.GlobalAveragePooling2D: _ANY,
    keras.layers.GlobalMaxPooling1D: _EXACT,
    keras.layers.GlobalMaxPooling2D: _EXACT,
    keras.layers.AveragePooling1D: _ROUNDED,
    keras.layers.AveragePooling2D: _ROUNDED,
    keras.layers.MaxPooling1D: _EXACT,
    keras.layers.MaxPooling2D: _EXACT,
    keras.layers.UpSampling1D: _EXACT,
    keras.layers.UpSampling2D: _up_sampling,
    keras.layers.Resizing: _up_sampling,
    keras.layers.ZeroPadding1D: _EXACT,
    keras.layers.ZeroPadding2D: _EXACT,
    keras.layers.Cropping1D: _EXACT,
    keras.layers.Cropping2D: _EXACT,
    keras.layers.Flatten: _EXACT,
    keras.layers.Reshape: _EXACT,
    keras.layers.Permute: _EXACT,
    keras.layers.RepeatVector: _EXACT,
    keras.layers.Identity: _EXACT,
    keras.layers.Dropout: _EXACT,
    keras.layers.SpatialDropout1D: _EXACT,
    keras.layers.SpatialDropout2D: _EXACT,
    keras.layers.GaussianDropout: _EXACT,
    keras.layers.GaussianNoise: _EXACT,
    keras.layers.AlphaDropout: _EXACT,
    keras.layers.ActivityRegularization: _EXACT,
    keras.layers.MultiHeadAttention: _attention,
    keras.layers.EinsumDense: _einsum_dense,
    **dict.fromkeys(_AUGMENTING, _EXACT),
    keras.layers.RNN: _recurrent,
    keras.layers.Bidirectional: _recurrent,
}

# Private Keras layers used inside keras.applications.
BY_NAME: dict[str, Rule | RuleMaker] = {
    "LayerScale": lambda layer: Rule(opens=opening.layer_scale(layer)),
    "StochasticDepth": _EXACT,
    "CustomScaleLayer": lambda layer: Rule(opens=opening.add_scaled_residual(layer)),
}

# Operations of keras.ops, by the name of their class.
OPERATIONS: dict[str, Rule | RuleMaker] = {
    **dict.fromkeys(("Add", "Subtract", "Multiply", "Divide", "TrueDivide"), _ARITHMETIC),
    **dict.fromkeys(("Mean", "Matmul"), _ANY),
    **dict.fromkeys(("Concatenate", "Stack", "Maximum", "Minimum"), _JOINED),
    "Clip": _clip,
    "Cast": lambda operation: (
        _EXACT if "float" in operation.dtype else _leave_in_float("it converts to integers")
    ),
    **dict.fromkeys(("AveragePool",), _ROUNDED),
    **dict.fromkeys(
        ("MaxPool", "Max", "Reshape", "Transpose", "ExpandDims", "Squeeze", "Pad")
        + ("GetItem", "Flip", "Repeat", "Tile", "Identity", "SwapAxes", "Moveaxis"),
        _EXACT,
    ),
    "Split": lambda operation: Rule(opens=opening.slices(operation)),
    "Relu": _RELU,
    "Relu6": _RELU,
    "LeakyRelu": _ANY,
    "Gelu": _ANY,
    "HardSilu": _ANY,
    "Sigmoid": ACTIVATIONS["sigmoid"],
    "Softmax": ACTIVATIONS["softmax"],
    "Tanh": ACTIVATIONS["tanh"],
    "Silu": ACTIVATIONS["silu"],
    "HardSigmoid": ACTIVATIONS["hard_sigmoid"],
}
