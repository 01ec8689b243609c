"""Rewrite composite layers as simpler layers that have integer kernels.

Each function takes a built layer and returns a function that computes the same from the arguments
of the layer's call. Weights are copied; names start with the name of the layer.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse import layers
from keras_dlcourse.graph.kernel_layers import Opened, fill
from keras_dlcourse.layers._remade import own_weights, remake_layer


def set_apart_activation(layer: Any) -> Opened:
    """A layer with an activation that cannot be fused: the linear layer, then the activation."""
    linear, activation = remake_layer(layer, activation="linear"), layer.activation
    linear.build_from_config(layer.get_build_config())
    linear.set_weights([ops.convert_to_numpy(weight) for weight in own_weights(layer)])
    if not isinstance(activation, keras.layers.Layer):
        activation = keras.layers.Activation(
            activation, dtype=layer.dtype_policy, name=f"{layer.name}_activation"
        )
    return lambda x: activation(linear(x))


def silu(layer: Any) -> Opened:
    """Swish: x * sigmoid(x)."""
    gate = keras.layers.Activation("sigmoid", dtype=_policy(layer), name=f"{layer.name}_gate")
    multiply = keras.layers.Multiply(dtype=_policy(layer), name=layer.name)
    return lambda x: multiply([x, gate(x)])


def hard_sigmoid(layer: Any) -> Opened:
    """min(max(x + 3, 0), 6) / 6."""
    shift = keras.layers.Rescaling(1.0, 3.0, dtype=_policy(layer), name=f"{layer.name}_shift")
    clip = keras.layers.ReLU(6.0, dtype=_policy(layer), name=f"{layer.name}_clip")
    scale = keras.layers.Rescaling(1 / 6, dtype=_policy(layer), name=f"{layer.name}_scale")
    return lambda x: scale(clip(shift(x)))


def slices(split: Any) -> Opened:
    """Split a tensor: one slice for each part that is used.

    TensorFlow's converter sometimes leaves a split with an unused output in float.
    """

    def compute(x: Any) -> list[Any]:
        size, sections = x.shape[split.axis], split.indices_or_sections
        if isinstance(sections, int):
            sections = range(size // sections, size, size // sections)
        return [
            x[(slice(None),) * (split.axis % x.ndim) + (slice(first, last),)]
            for first, last in itertools.pairwise([0, *sections, size])
        ]

    return compute


def combine_pairwise(layer: Any) -> Opened | None:
    """Combine three or more tensors (sum, product, maximum) two at a time. None for two tensors."""
    if len(_input_shapes(layer)) < 3:
        return None
    return lambda inputs: _combine_in_pairs(type(layer), layer, inputs, layer.name)


def average(layer: Any) -> Opened:
    """Average n tensors: their sum, divided by n."""
    scale = keras.layers.Rescaling(
        1 / len(_input_shapes(layer)), dtype=layer.dtype_policy, name=layer.name
    )
    return lambda inputs: scale(
        _combine_in_pairs(keras.layers.Add, layer, inputs, f"{layer.name}_sum")
    )


def add_scaled_residual(layer: Any) -> Opened:
    """Add a residual, multiplied by a constant, to its input, as in Inception-ResNet."""
    scale = keras.layers.Rescaling(
        layer.scale, dtype=layer.dtype_policy, name=f"{layer.name}_scale"
    )
    add = keras.layers.Add(dtype=layer.dtype_policy, name=layer.name)
    return lambda inputs: add([inputs[0], scale(inputs[1])])


def layer_scale(layer: Any) -> Opened:
    """Multiply each channel by a factor, as in ConvNeXt."""
    scale = layers.ChannelScale(
        use_offset=False, dtype=layer.dtype_policy, trainable=layer.trainable, name=layer.name
    )
    fill(scale, (None, int(np.prod(layer.gamma.shape))), ops.reshape(layer.gamma, (-1,)))
    return scale


def layer_normalization(layer: Any) -> Opened:
    """Subtract the mean, divide by the L2 norm, and scale by sqrt(n) for n channels.

    Integer kernels have an L2 norm but no variance; n values of variance 1 have a norm of sqrt(n).
    Unlike Keras, this omits epsilon; the results agree while epsilon is small compared to the
    variance.
    """
    channels = int(layer.get_build_config()["input_shape"][-1])
    length = layers.L2Normalization(
        epsilon=1e-6, dtype=layer.dtype_policy, name=f"{layer.name}_length"
    )
    scale = layers.ChannelScale(
        use_offset=layer.beta is not None,
        dtype=layer.dtype_policy,
        trainable=layer.trainable,
        name=layer.name,
    )
    gamma = np.ones(channels) if layer.gamma is None else ops.convert_to_numpy(layer.gamma)
    offset = [] if layer.beta is None else [layer.beta]
    fill(scale, (None, channels), gamma * math.sqrt(channels), *offset)

    def normalize(x: Any) -> Any:
        centred = ops.subtract(x, ops.mean(x, axis=-1, keepdims=True))
        return scale(length(centred))

    return normalize


def unit_normalization(layer: Any) -> Opened:
    """Scale vectors to length 1 with the operation that devices support."""
    return layers.L2Normalization(dtype=layer.dtype_policy, name=layer.name)


def einsum_dense(layer: Any) -> Opened:
    """Multiply by a kernel with several axes: reshape, dense, reshape."""
    return _build_dense(layer)


def attention(layer: Any) -> Opened:
    """Multi-head attention: dense layers, two matrix products, and a softmax between them."""
    policy, name = layer.dtype_policy, layer.name
    # The scaling of the scores is folded into the weights of the queries.
    query_dense = _build_dense(layer._query_dense, factor=1 / math.sqrt(layer._key_dim))
    key_dense, value_dense = _build_dense(layer._key_dense), _build_dense(layer._value_dense)
    output_dense = _build_dense(layer._output_dense)

    def permute(part: str, *order: int) -> Opened:
        return keras.layers.Permute(order, dtype=policy, name=f"{name}_{part}")

    heads_first, keys_last = permute("query_heads", 2, 1, 3), permute("key_heads", 2, 3, 1)
    values_first, heads_back = permute("value_heads", 2, 1, 3), permute("heads", 2, 1, 3)
    softmax = keras.layers.Softmax(dtype=policy, name=f"{name}_softmax")
    dropout = keras.layers.Dropout(layer._dropout, dtype=policy, name=f"{name}_dropout")

    def attend(*args: Any, **kwargs: Any) -> Any:
        given = inspect.signature(layer.call).bind(*args, **kwargs).arguments
        query, value, key = given.pop("query"), given.pop("value"), given.pop("key", None)
        refuse_options(layer, {k: v for k, v in given.items() if k != "training"})
        q = heads_first(query_dense(query))
        k = keys_last(key_dense(value if key is None else key))
        v = values_first(value_dense(value))
        weights = dropout(softmax(ops.matmul(q, k)))
        return output_dense(heads_back(ops.matmul(weights, v)))

    return attend


def refuse_options(layer: Any, options: Mapping[str, Any]) -> None:
    """Raise an error if a call has an argument without an integer form.

    Raises:
        ValueError: If such an argument is given; the message names it and the alternatives.
    """
    used = [name for name, given in options.items() if given is not None and given is not False]
    if used:
        kind = type(layer).__name__
        raise ValueError(
            f"layer {layer.name!r} ({kind}) is called with {', '.join(used)}, which has no "
            f"integer form. Leave the layer in float with skip=[{layer.name!r}], or register your "
            f"own form with @kd.quantize.rule(keras.layers.{kind})."
        )


def why_not_dense(layer: Any) -> str:
    """Return why an EinsumDense is not equivalent to a Dense layer; empty if it is."""
    given, kernel_axes, made, contracted, new = _axes(layer)
    kept = [axis for axis in given if axis not in contracted]
    if [given[len(kept) :], kernel_axes, made] == [
        "".join(part) for part in (contracted, contracted + new, kept + new)
    ]:
        return ""
    return (
        f"{layer.equation!r} has no integer form; write it with Dense, Reshape and Permute, or "
        "register your own form with @kd.quantize.rule"
    )


def _axes(layer: Any) -> tuple[str, str, str, list[str], list[str]]:
    """Return the axes of an EinsumDense: input, kernel, output, contracted and new axes."""
    given, rest = layer.equation.split(",")
    kernel_axes, made = rest.split("->")
    contracted = [axis for axis in kernel_axes if axis in given and axis not in made]
    return given, kernel_axes, made, contracted, [axis for axis in kernel_axes if axis in made]


def _build_dense(layer: Any, factor: float = 1.0) -> Opened:
    """Return reshape, Dense and reshape for an EinsumDense that contracts its last axes."""
    given, _, _, contracted, _ = _axes(layer)
    kept = [axis for axis in given if axis not in contracted]
    kernel = ops.convert_to_numpy(layer.kernel)
    sizes_in, sizes_out = kernel.shape[: len(contracted)], kernel.shape[len(contracted) :]
    dense = keras.layers.Dense(
        int(np.prod(sizes_out)),
        use_bias=layer.bias is not None,
        activation=layer.activation,
        dtype=layer.dtype_policy,
        trainable=layer.trainable,
        name=layer.name,
    )
    weights = [kernel.reshape(int(np.prod(sizes_in)), -1) * factor]
    if layer.bias is not None:
        bias = np.broadcast_to(ops.convert_to_numpy(layer.bias), sizes_out)
        weights.append(bias.reshape(-1) * factor)
    fill(dense, (None, int(np.prod(sizes_in))), *weights)

    def compute(x: Any) -> Any:
        shape = x.shape[1 : len(kept)]
        if len(sizes_in) > 1:
            x = keras.layers.Reshape((*shape, dense.input_spec.axes[-1]))(x)
        x = dense(x)
        return keras.layers.Reshape((*shape, *sizes_out))(x) if len(sizes_out) > 1 else x

    return compute


def _combine_in_pairs(kind: Any, layer: Any, inputs: Sequence[Any], name: str) -> Any:
    """Combine tensors two at a time; the last operation gets the name."""
    result = inputs[0]
    for number, tensor in enumerate(inputs[1:], 2):
        part = name if number == len(inputs) else f"{name}_{number}"
        result = kind(dtype=layer.dtype_policy, name=part)([result, tensor])
    return result


def _policy(operation: Any) -> Any:
    """Return a layer's dtype policy; None for operations, which follow their inputs."""
    return getattr(operation, "dtype_policy", None)


def _input_shapes(layer: Any) -> list[Any]:
    return list(layer.get_build_config()["input_shape"])
