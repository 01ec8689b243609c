"""Empirical bias correction: subtract the mean error of rounded weights from the biases."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops, tree

from keras_dlcourse._moved import renamed_arguments
from keras_dlcourse.data import take
from keras_dlcourse.graph import fold_batch_norm
from keras_dlcourse.graph.flat import Graph, Node
from keras_dlcourse.graph.kernel_layers import KERNEL_LAYERS, open_layers
from keras_dlcourse.layers._remade import remake_layer

EXAMPLES = 200
BATCH = 32
_LARGEST = 127.0


@renamed_arguments(examples="limit")
def correct_bias(model: keras.Model, data: Any, limit: int = EXAMPLES) -> keras.Model:
    """Return a copy whose biases compensate for the mean error of rounding its weights to int8.

    With few weights (nine in a depthwise filter), rounding errors do not cancel, and after ReLU the
    inputs have a nonzero mean, so that a channel is off by a constant. This measures that constant
    on data for each layer and subtracts it from the bias. The copy is meant for export to int8: as
    a float network it is slightly worse than the original. Errors are measured on the values of the
    float network, so that each layer corrects only its own weights; the paper instead measures one
    layer after another.

    Args:
        model: A built functional or Sequential model with one input. It is not modified. In the
            copy, batch normalization is folded and composite layers are expanded.
        data: Same as for `fit`, normalized as in training.
        limit: Maximum number of examples to measure on, chosen with a fixed seed.

    Returns:
        A flat functional model.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If the model is subclassed or unbuilt, or has more than one input.

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.DepthwiseConv2D(3)])
        >>> corrected = correct_bias(model, np.ones((8, 8, 8, 3), "float32"))
        >>> bool(np.any(corrected.layers[-1].bias.numpy() != 0))
        True

    Reference:
        Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
        ICCV 2019, section 4.2 and appendix D, https://arxiv.org/abs/1906.04721
    """
    if len(model.inputs) != 1:
        raise ValueError(
            f"model {model.name!r} must have one input to correct its biases. Received: "
            f"{len(model.inputs)} inputs"
        )
    graph = Graph(_add_biases(fold_batch_norm(open_layers(model).model)))
    probe, kernels = _probe(graph)
    if not kernels:
        return graph.model
    inputs = take(data, limit, seed=0).inputs
    totals = [np.zeros(layer.bias.shape) for layer in kernels]
    for start in range(0, len(inputs), BATCH):
        batch = inputs[start : start + BATCH]
        found = tree.flatten(probe(batch, training=False))  # Keras unwraps a list of one
        for total, mean in zip(totals, found, strict=True):
            total += ops.convert_to_numpy(mean).sum(0)
    for layer, total in zip(kernels, totals, strict=True):
        layer.bias.assign(ops.convert_to_numpy(layer.bias) - total / len(inputs))
    return graph.model


def round_kernel(kernel: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Return a kernel rounded to int8: symmetric, with one scale per output channel.

    Args:
        kernel: The kernel.
        axes: The axes that share a scale: all except the output-channel axes.
    """
    scale = np.abs(kernel).max(axis=axes, keepdims=True) / _LARGEST
    return np.where(scale > 0, np.round(kernel / np.where(scale > 0, scale, 1)) * scale, 0.0)


def _kinds() -> dict[type, tuple[int, ...]]:
    """Map each kind of layer to the output-channel axes of its kernel."""
    return {
        kind: (-2, -1) if "Depthwise" in kind.__name__ else (outputs,)
        for kind, _, outputs in KERNEL_LAYERS
        if kind is not keras.layers.EinsumDense
    }


def _add_biases(model: keras.Model) -> keras.Model:
    """Return the model with a bias in every layer that has a kernel."""
    swapped: dict[int, Any] = {}

    def call(node: Node, args: Any, kwargs: Any) -> Any:
        layer = node.operation
        if type(layer) in _kinds() and not layer.use_bias:
            if id(layer) not in swapped:
                twin = remake_layer(layer, use_bias=True)
                twin.build_from_config(layer.get_build_config())
                twin.kernel.assign(layer.kernel)
                swapped[id(layer)] = twin
            layer = swapped[id(layer)]
        return layer(*args, **kwargs)

    return Graph(model).rebuild(call)


def _probe(graph: Graph) -> tuple[keras.Model, list[Any]]:
    """Return a model that outputs each kernel's mean error per channel, and the layers in order."""
    kernels: list[Any] = []
    errors: list[Any] = []
    inputs: list[Any] = []
    kinds = _kinds()

    def on_input(number: int, tensor: Any) -> Any:
        inputs.append(tensor)
        return tensor

    def call(node: Node, args: Any, kwargs: Any) -> Any:
        layer = node.operation
        if type(layer) in kinds and len(graph.calls(layer)) == 1:
            kernels.append(layer)
            error = _error_layer(layer, kinds[type(layer)])(*args, **kwargs)
            places = tuple(range(1, len(error.shape) - 1))
            errors.append(ops.mean(error, axis=places) if places else error)
        return layer(*args, **kwargs)

    graph.rebuild(call, on_input)
    return keras.Model(inputs[0], errors), kernels


def _error_layer(layer: Any, outputs: tuple[int, ...]) -> Any:
    """Return a linear layer whose kernel is the rounding error, so that it outputs the error."""
    twin = remake_layer(layer, activation=None, use_bias=False, name=f"{layer.name}_error")
    twin.build_from_config(layer.get_build_config())
    kernel = ops.convert_to_numpy(layer.kernel)
    last = {axis % kernel.ndim for axis in outputs}
    axes = tuple(axis for axis in range(kernel.ndim) if axis not in last)
    twin.kernel.assign(round_kernel(kernel, axes) - kernel)
    return twin
