"""Composite layers, computed with simpler ones that integer kernels exist for.

Each function takes a built layer and returns what computes the same from the arguments of the
layer's call. Weights are copied; names start with the layer's.
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
from keras_dlcourse.layers._remade import own_weights, remade


def set_apart_activation(layer: Any) -> Opened:
    """A layer with an activation that does not fuse: the layer without it, then the activation."""
    linear, activation = remade(layer, activation="linear"), layer.activation
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
    """A tensor in parts: a slice for each that is used.

    TensorFlow's converter leaves a split with an unused output in float now and then.
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


def pairwise(layer: Any) -> Opened | None:
    """A sum (product, maximum) of three or more: two at a time. None for two."""
    if len(_input_shapes(layer)) < 3:
        return None
    return lambda inputs: _in_pairs(type(layer), layer, inputs, layer.name)


def average(layer: Any) -> Opened:
    """A mean of n tensors: their sum, divided by n."""
    scale = keras.layers.Rescaling(
        1 / len(_input_shapes(layer)), dtype=layer.dtype_policy, name=layer.name
    )
    return lambda inputs: scale(_in_pairs(keras.layers.Add, layer, inputs, f"{layer.name}_sum"))


def scaled_residual(layer: Any) -> Opened:
    """A residual times a constant, added to its input, as in Inception-ResNet."""
    scale = keras.layers.Rescaling(
        layer.scale, dtype=layer.dtype_policy, name=f"{layer.name}_scale"
    )
    add = keras.layers.Add(dtype=layer.dtype_policy, name=layer.name)
    return lambda inputs: add([inputs[0], scale(inputs[1])])


def layer_scale(layer: Any) -> Opened:
    """A factor for each channel, as in ConvNeXt."""
    scale = layers.ChannelScale(
        use_offset=False, dtype=layer.dtype_policy, trainable=layer.trainable, name=layer.name
    )
    fill(scale, (None, int(np.prod(layer.gamma.shape))), ops.reshape(layer.gamma, (-1,)))
    return scale


def layer_normalization(layer: Any) -> Opened:
    """Subtract the mean, divide by the length, and scale: n numbers of variance 1 are sqrt(n) long.

    Integer kernels have the length, not the variance. Where Keras adds epsilon to the variance,
    this leaves it out: while epsilon is small beside the variance they agree.
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
    """Vectors of length 1, by the operation that devices have."""
    return layers.L2Normalization(dtype=layer.dtype_policy, name=layer.name)


def einsum_dense(layer: Any) -> Opened:
    """A product with a kernel of several axes: reshape, dense, reshape."""
    return _dense_of(layer)


def attention(layer: Any) -> Opened:
    """Multi-head attention: dense layers, two products of matrices, and a softmax between them."""
    policy, name = layer.dtype_policy, layer.name
    # The factor in front of the scores moves into the queries' weights.
    query_dense = _dense_of(layer._query_dense, factor=1 / math.sqrt(layer._key_dim))
    key_dense, value_dense = _dense_of(layer._key_dense), _dense_of(layer._value_dense)
    output_dense = _dense_of(layer._output_dense)

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
    """Refuse a call with an argument for which there is no integer form.

    Raises:
        ValueError: If an option is given, naming it and the ways out.
    """
    used = [name for name, given in options.items() if given is not None and given is not False]
    if used:
        kind = type(layer).__name__
        raise ValueError(
            f"layer {layer.name!r} ({kind}) is called with {', '.join(used)}, for which there is "
            f"no integer form: leave the layer in float with skip=[{layer.name!r}], or register a "
            f"form of your own with @kd.quantize.rule(keras.layers.{kind})"
        )


def why_not_dense(layer: Any) -> str:
    """Return why an EinsumDense is no dense layer; empty if it is one."""
    given, kernel_axes, made, contracted, new = _axes(layer)
    kept = [axis for axis in given if axis not in contracted]
    if [given[len(kept) :], kernel_axes, made] == [
        "".join(part) for part in (contracted, contracted + new, kept + new)
    ]:
        return ""
    return (
        f"{layer.equation!r} has no integer form; write it with Dense, Reshape and Permute, or "
        "register a form of your own with @kd.quantize.rule"
    )


def _axes(layer: Any) -> tuple[str, str, str, list[str], list[str]]:
    """Return the axes of an EinsumDense: of its input, kernel, output; contracted, and new ones."""
    given, rest = layer.equation.split(",")
    kernel_axes, made = rest.split("->")
    contracted = [axis for axis in kernel_axes if axis in given and axis not in made]
    return given, kernel_axes, made, contracted, [axis for axis in kernel_axes if axis in made]


def _dense_of(layer: Any, factor: float = 1.0) -> Opened:
    """Return reshape, Dense and reshape for an EinsumDense that contracts the last axes."""
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


def _in_pairs(kind: Any, layer: Any, inputs: Sequence[Any], name: str) -> Any:
    """Combine tensors two at a time; the last pair has the name."""
    result = inputs[0]
    for number, tensor in enumerate(inputs[1:], 2):
        part = name if number == len(inputs) else f"{name}_{number}"
        result = kind(dtype=layer.dtype_policy, name=part)([result, tensor])
    return result


def _policy(operation: Any) -> Any:
    """Return a layer's dtype policy; operations have none and follow their inputs."""
    return getattr(operation, "dtype_policy", None)


def _input_shapes(layer: Any) -> list[Any]:
    return list(layer.get_build_config()["input_shape"])
