"""How each kind of layer becomes integers: one table, to which users can add.

A rule says which weights are rounded and along which axis they have a scale each, where the range
of the output comes from, and what may fuse with what: integer kernels apply batch normalization
and ReLU to their accumulator, so nothing is rounded between them. A composite layer has a rule that
opens it: it computes the same with simpler layers, which have rules of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_dlcourse import layers
from keras_dlcourse.graph.flat import open_block
from keras_dlcourse.graph.kernel_layers import separable
from keras_dlcourse.layers._remade import activation_name
from keras_dlcourse.layers.blocks._composite import CompositeLayer
from keras_dlcourse.quantize.qat import opening, recurrence

Axis = int | tuple[int, ...]


@dataclass(frozen=True)
class Rule:
    """How one layer becomes integers.

    Attributes:
        weights: For each weight to be rounded, by the name of its attribute, the axis along which
            each index has a scale of its own (the output channels); several if they make them up
            together.
        output: Where the range of the output comes from: `"range"` (observed), two numbers (fixed
            by the kernel), `"input"` (that of the input, to which the result is rounded: average
            pooling), or `"exact"` (that of the input, whose numbers are only moved: reshaping).
        fuses: Kinds of layers that a kernel applies before it rounds: `"scale"` (batch
            normalization) and `"relu"`.
        fused_as: What this layer is to the kernel before it: `"scale"`, `"relu"` or None.
        joins: Whether the inputs take the range of the output, as in concatenation and clipping: a
            kernel that only this layer reads rounds to that range at once.
        opens: For a composite: takes the call's arguments, computes the same with simpler layers.
        reason: Why the layer stays in float; empty if it does not.
        walled: For a layer that stays in float, whether the converter must be kept from making
            integers of it. Not needed where integer kernels do not exist.
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

# Ranges of kernels whose scale is given: 1/256, from 0 for probabilities and from -1 else.
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
    """Register how a kind of layer is quantized: a decorator for a function from layer to `Rule`.

    A rule for a class holds for its subclasses that have none.

    Args:
        kind: A class of Keras layers.

    Returns:
        The decorator; it returns the function as it is.

    Raises:
        TypeError: If `kind` is no class of Keras layers.

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
        raise TypeError(f"rule() takes a class of Keras layers. Received: {kind!r}")

    def register(maker: RuleMaker) -> RuleMaker:
        RULES[kind] = maker
        # A class of its own for each kind, made now, so that saved models find it.
        layers.compressed_class(kind)
        return maker

    return register


def rule_for(operation: Any) -> Rule:
    """Return the rule of a layer or operation; if there is none, one that says so.

    Raises:
        ValueError: If a user's rule raises or returns something else, naming the layer.
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
            f"the quantization rule for {type(operation).__name__} raised "
            f"{type(error).__name__} on layer {operation.name!r}: {error}"
        ) from error
    if not isinstance(made, Rule):
        raise ValueError(
            f"the quantization rule for {type(operation).__name__} must return a "
            f"kd.quantize.Rule; on layer {operation.name!r} it returned {made!r}"
        )
    return made


def open_layer(operation: Any) -> Callable[..., Any] | None:
    """Return, for a composite layer, what computes the same with simpler layers, else None."""
    return rule_for(operation).opens


def _find(operation: Any) -> Rule | RuleMaker | None:
    if not isinstance(operation, keras.layers.Layer):
        return OPERATIONS.get(type(operation).__name__)
    for kind in type(operation).__mro__:
        if kind in RULES:
            return RULES[kind]
    return BY_NAME.get(type(operation).__name__)


def _stays(reason: str, walled: bool = True) -> Rule:
    return Rule(reason=reason, walled=walled)


# What an activation is, by the name of its function in Keras.
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
        return _stays(f"{name}: {_NO_KERNEL}", walled=False)
    return _stays(
        f"{name} is a function of your own; use one of Keras's, or make a layer of it with "
        "@kd.quantize.rule"
    )


def _relu(layer: Any) -> Rule:
    if layer.threshold:
        return _stays("a ReLU with a threshold has no integer kernel")
    if layer.negative_slope:
        return _ANY if layer.max_value is None else _stays("a leaky ReLU with a maximum has none")
    if layer.max_value in (None, 6.0):
        return _RELU
    # The end of the range clips as the maximum does.
    return Rule(output=(0.0, float(layer.max_value)), fused_as="relu")


def _kernel(**weights: Axis) -> RuleMaker:
    """Return the rule of a layer with kernels: its activation fuses, or is set apart."""

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
        return _stays(f"it normalises axis {axis}; integer kernels have channels last")
    return _AFFINE


def _layer_normalization(layer: Any) -> Rule:
    axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    last = len(layer.get_build_config()["input_shape"]) - 1
    if list(axes) not in ([-1], [last]) or getattr(layer, "rms_scaling", False):
        return _stays("only layer normalization of the last axis has an integer form")
    return Rule(opens=opening.layer_normalization(layer))


def _up_sampling(layer: Any) -> Rule:
    return _EXACT if getattr(layer, "interpolation", "nearest") == "nearest" else _ROUNDED


def _clip(operation: Any) -> Rule:
    """The end of the range behind it clips as well, where that may be: ranges hold 0."""
    ends = operation.x_min, operation.x_max
    numbers = all(np.ndim(end) == 0 and not isinstance(end, keras.KerasTensor) for end in ends)
    if numbers and ends[0] <= 0 <= ends[1]:
        return _JOINED
    return _stays("clipping is in integers between two numbers, one up to 0 and one from 0")


def _einsum_dense(layer: Any) -> Rule:
    reason = opening.why_not_dense(layer)
    return _stays(reason) if reason else Rule(opens=opening.einsum_dense(layer))


def _attention(layer: Any) -> Rule:
    if tuple(layer._attention_axes) != (1,):
        return _stays("only attention over the one axis of a sequence has an integer form")
    return Rule(opens=opening.attention(layer))


def _recurrent(layer: Any) -> Rule:
    if not isinstance(layer, keras.layers.RNN):
        return _stays("layers around recurrent ones are not written out; use two, one backwards")
    reason = recurrence.why_not(layer)
    return _stays(reason) if reason else Rule(opens=recurrence.written_out(layer))


# In training only: at inference they hand on what they get.
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
    keras.layers.SeparableConv1D: lambda layer: Rule(opens=separable(layer)),
    keras.layers.SeparableConv2D: lambda layer: Rule(opens=separable(layer)),
    keras.layers.BatchNormalization: _batch_normalization,
    keras.layers.LayerNormalization: _layer_normalization,
    keras.layers.UnitNormalization: lambda layer: Rule(opens=opening.unit_normalization(layer)),
    layers.L2Normalization: Rule(output=SIGNED_UNIT),
    layers.LocalResponseNormalization: _stays(
        "integer runtimes have no kernel for it; build the network with normalization='batch' "
        "(AlexNet) or None"
    ),
    layers.SparseConnectedConv2D: _stays(
        "its kernel is put together at each call; quantization='int8' after training has it in "
        "integers"
    ),
    keras.layers.Rescaling: _AFFINE,
    keras.layers.Normalization: _AFFINE,
    layers.ChannelScale: _AFFINE,
    keras.layers.Activation: _activation,
    keras.layers.ReLU: _relu,
    keras.layers.LeakyReLU: _ANY,
    keras.layers.PReLU: _ANY,
    keras.layers.ELU: _stays(f"elu: {_NO_KERNEL}", walled=False),
    keras.layers.Softmax: Rule(output=PROBABILITY),
    keras.layers.Add: lambda layer: Rule(fuses=("relu",), opens=opening.pairwise(layer)),
    keras.layers.Multiply: lambda layer: Rule(fuses=("relu",), opens=opening.pairwise(layer)),
    keras.layers.Subtract: _ARITHMETIC,
    keras.layers.Average: lambda layer: Rule(opens=opening.average(layer)),
    keras.layers.Maximum: lambda layer: Rule(joins=True, opens=opening.pairwise(layer)),
    keras.layers.Minimum: lambda layer: Rule(joins=True, opens=opening.pairwise(layer)),
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

# Layers that Keras keeps to itself inside of keras.applications.
BY_NAME: dict[str, Rule | RuleMaker] = {
    "LayerScale": lambda layer: Rule(opens=opening.layer_scale(layer)),
    "StochasticDepth": _EXACT,
    "CustomScaleLayer": lambda layer: Rule(opens=opening.scaled_residual(layer)),
}

# Operations of keras.ops, by the name of their class.
OPERATIONS: dict[str, Rule | RuleMaker] = {
    **dict.fromkeys(("Add", "Subtract", "Multiply", "Divide", "TrueDivide"), _ARITHMETIC),
    **dict.fromkeys(("Mean", "Matmul"), _ANY),
    **dict.fromkeys(("Concatenate", "Stack", "Maximum", "Minimum"), _JOINED),
    "Clip": _clip,
    "Cast": lambda operation: (
        _EXACT if "float" in operation.dtype else _stays("it makes whole numbers")
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
