"""Depthwise separable convolution: filter each channel in space, then mix channels."""

from __future__ import annotations

from typing import Any

import keras

from keras_dlcourse.layers.blocks._composite import ConvolutionBlock, build_chain, run_chain


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class DepthwiseSeparableConv2D(ConvolutionBlock):
    """Depthwise convolution, then 1x1 convolution, each with batch normalization and ReLU6.

    A standard k x k convolution from M to N channels costs k * k * M * N multiplications per
    position. Here a depthwise k x k convolution filters each channel separately (k * k * M) and a
    pointwise 1x1 convolution combines the channels (M * N): 8 to 9 times fewer for k = 3.

        y = ReLU6(BN(pointwise(ReLU6(BN(depthwise(x))))))

    This is the block of MobileNet. Unlike `keras.layers.SeparableConv2D`, it applies normalization
    and ReLU6 between the two convolutions. Neither has a bias: batch normalization provides one.
    Weights are in the order of the blocks of `keras.applications.MobileNet`.

    Args:
        filters: Output channels.
        kernel_size: Height and width of the depthwise kernel, in pixels.
        strides: Step of the depthwise convolution, along both axes.
        bn_momentum: Momentum of the moving statistics. Keras's own default, 0.99, needs about a
            thousand steps to move them away from their initial values.
        bn_epsilon: Small value added to the variance.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Images or feature maps of shape `(batch, height, width, channels)`.

    Returns:
        Feature maps of shape `(batch, ceil(height / strides), ceil(width / strides), filters)`,
        with values from 0 to 6.

    Raises:
        ValueError: If an argument is out of range, or the number of input channels is unknown.

    Example:
        >>> import numpy as np
        >>> block = DepthwiseSeparableConv2D(16, strides=2)
        >>> block(np.zeros((1, 28, 28, 8))).shape[1:] == (14, 14, 16)
        True

    Reference:
        Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
        Applications", 2017, https://arxiv.org/abs/1704.04861
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 3,
        strides: int = 1,
        bn_momentum: float = 0.9,
        bn_epsilon: float = 1e-3,
        **kwargs: Any,
    ) -> None:
        super().__init__(filters, kernel_size, strides, bn_momentum, bn_epsilon, **kwargs)
        self.depthwise = self.depthwise_convolution()
        self.depthwise_bn = self.batch_normalization("depthwise")
        self.depthwise_relu = self.relu6("depthwise")
        self.pointwise = self.pointwise_convolution(self.filters, "pointwise")
        self.pointwise_bn = self.batch_normalization("pointwise")
        self.pointwise_relu = self.relu6("pointwise")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights for inputs of `input_shape`."""
        self.check_channels(input_shape)
        build_chain(self._chain, input_shape)

    def call(self, inputs: Any) -> Any:
        """Apply the block; see the class for shapes."""
        return run_chain(self._chain, inputs)

    @property
    def _chain(self) -> list[keras.layers.Layer]:
        """The sublayers in the order in which they are applied."""
        return [
            self.depthwise,
            self.depthwise_bn,
            self.depthwise_relu,
            self.pointwise,
            self.pointwise_bn,
            self.pointwise_relu,
        ]
