"""Base classes and helpers of the composite convolution blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_dlcourse import backend
from keras_dlcourse._checks import check_fraction, check_integer, check_number


class CompositeLayer(keras.layers.Layer):
    """A layer composed only of Keras's own layers.

    Calling `layer.call(x)` on a symbolic input returns the flat graph of primitive layers that
    tools for quantization, pruning and inspection read. The names of sublayers start with the
    layer's name, so that they are unique in that graph.
    """


class ConvolutionBlock(CompositeLayer):
    """A chain of convolutions, each with batch normalization, on channels-last images."""

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        strides: int,
        bn_momentum: float,
        bn_epsilon: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = check_integer("filters", filters)
        self.kernel_size = check_integer("kernel_size", kernel_size)
        self.strides = check_integer("strides", strides)
        self.bn_momentum = check_fraction("bn_momentum", bn_momentum)
        self.bn_epsilon = check_number("bn_epsilon", bn_epsilon, above=0)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def check_channels(self, input_shape: tuple[int | None, ...]) -> int:
        """Return the number of input channels, and require it of later inputs."""
        channels = input_shape[-1]
        if channels is None:
            raise ValueError(
                f"{type(self).__name__} needs to know the number of input channels (the last axis) "
                f"when it is built. Received: input_shape={tuple(input_shape)}"
            )
        self.input_spec = keras.layers.InputSpec(ndim=4, axes={-1: channels})
        return channels

    def depthwise_convolution(self) -> keras.layers.Layer:
        """Return the spatial filter: one kernel per channel, no mixing between channels."""
        return keras.layers.DepthwiseConv2D(
            self.kernel_size,
            strides=self.strides,
            padding="same",
            use_bias=False,
            data_format="channels_last",
            dtype=self.dtype_policy,
            trainable=self.trainable,
            name=f"{self.name}_depthwise",
        )

    def pointwise_convolution(self, filters: int, part: str) -> keras.layers.Layer:
        """Return a 1x1 convolution, which mixes the channels of one position at a time."""
        return self.convolution(filters, 1, part, initializer="glorot_uniform")

    def convolution(
        self,
        filters: int,
        kernel_size: int,
        part: str,
        strides: int = 1,
        groups: int = 1,
        use_bias: bool = False,
        initializer: str = "he_normal",
    ) -> keras.layers.Layer:
        """Return a full convolution, or a grouped one."""
        return keras.layers.Conv2D(
            filters,
            kernel_size,
            strides=strides,
            groups=groups,
            padding="same",
            use_bias=use_bias,
            data_format="channels_last",
            kernel_initializer=initializer,
            dtype=self.dtype_policy,
            trainable=self.trainable,
            name=f"{self.name}_{part}",
        )

    def batch_normalization(self, part: str, gamma: str = "ones") -> keras.layers.Layer:
        """Return the normalization after the convolution `part`, which replaces the bias."""
        return keras.layers.BatchNormalization(
            axis=-1,
            momentum=self.bn_momentum,
            epsilon=self.bn_epsilon,
            gamma_initializer=gamma,
            dtype=self.dtype_policy,
            trainable=self.trainable,
            name=f"{self.name}_{part}_bn",
        )

    def relu6(self, part: str) -> keras.layers.Layer:
        """Return min(max(x, 0), 6), which keeps activations in a range that 8 bits can hold."""
        return keras.layers.ReLU(
            max_value=6.0, dtype=self.dtype_policy, name=f"{self.name}_{part}_relu"
        )

    def relu(self, part: str) -> keras.layers.Layer:
        """Return max(x, 0)."""
        return keras.layers.ReLU(dtype=self.dtype_policy, name=f"{self.name}_{part}_relu")

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return `(batch, ceil(height / strides), ceil(width / strides), filters)`."""
        batch, height, width, _ = input_shape
        return batch, self._output_size(height), self._output_size(width), self.filters

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this block."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "bn_momentum": self.bn_momentum,
            "bn_epsilon": self.bn_epsilon,
        }

    def _output_size(self, size: int | None) -> int | None:
        """Return the output size along one axis under "same" padding."""
        return None if size is None else -(-size // self.strides)


def build_chain(
    layers: list[keras.layers.Layer], input_shape: tuple[int | None, ...]
) -> tuple[int | None, ...]:
    """Build each layer on the output shape of the previous one; return the last output shape."""
    for layer in layers:
        layer.build(input_shape)
        input_shape = layer.compute_output_shape(input_shape)
    return input_shape


def run_chain(
    layers: Sequence[keras.layers.Layer], inputs: Any, training: bool | None = None
) -> Any:
    """Apply layers in order."""
    for layer in layers:
        apart = training and getattr(layer, "groups", 1) > 1 and backend.is_slow_in_groups()
        if apart and not isinstance(inputs, keras.KerasTensor):
            inputs = _convolve_by_group(layer, inputs)
        else:
            inputs = layer(inputs)
    return inputs


def _convolve_by_group(layer: Any, inputs: Any) -> Any:
    """Apply a grouped convolution as many small parallel ones.

    On CPUs, Keras runs grouped convolutions through XLA, where the gradient of the single grouped
    convolution takes 40 times as long.
    """
    parts = zip(
        ops.split(inputs, layer.groups, axis=-1),
        ops.split(ops.convert_to_tensor(layer.kernel), layer.groups, axis=-1),
        strict=True,
    )
    options = {"strides": layer.strides, "padding": layer.padding, "data_format": "channels_last"}
    outputs = ops.concatenate([ops.conv(x, kernel, **options) for x, kernel in parts], axis=-1)
    return outputs + layer.bias if layer.use_bias else outputs


def convolution_and_relu(
    block: keras.layers.Layer,
    filters: int,
    kernel_size: int,
    part: str,
    strides: int = 1,
    padding: str = "same",
) -> list[keras.layers.Layer]:
    """Return a convolution with bias and a ReLU, for blocks without normalization."""
    name = f"{block.name}_{part}"
    convolution = keras.layers.Conv2D(
        filters,
        kernel_size,
        strides,
        padding,
        data_format="channels_last",
        kernel_initializer="he_normal",
        dtype=block.dtype_policy,
        trainable=block.trainable,
        name=name,
    )
    return [convolution, keras.layers.ReLU(dtype=block.dtype_policy, name=f"{name}_relu")]
