"""Inverted residual with a linear bottleneck: widen, filter in space, narrow, add the input."""

from __future__ import annotations

from typing import Any

import keras

from keras_dlcourse._checks import check_fraction, check_integer
from keras_dlcourse.layers.blocks._composite import ConvolutionBlock, build_chain
from keras_dlcourse.layers.blocks.squeeze_excite import SqueezeExcite, check_activation


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class InvertedResidual(ConvolutionBlock):
    """Expansion, depthwise convolution and linear projection, with a shortcut where sizes allow it.

    A classical residual block narrows its input, filters it and widens it again. This one widens a
    narrow input by `expansion`, filters each channel spatially, and projects back to a few channels
    *without* a nonlinearity, because ReLU6 would lose information in few channels:

        h = ReLU6(BN(expand(x)))          # 1x1; omitted if expansion is 1
        h = ReLU6(BN(depthwise(h)))       # k x k, with the strides
        y = BN(project(h))                # 1x1, linear
        y = x + y                         # if strides is 1 and x has `filters` channels

    This is the block of MobileNetV2. With another activation, and squeeze-and-excitation after the
    depthwise convolution, it is the block of MobileNetV3 and EfficientNet. Convolutions have no
    bias. Weights are in the order of the blocks of `keras.applications`.

    Args:
        filters: Output channels.
        expansion: Factor by which the block widens its input (t in the paper).
        kernel_size: Height and width of the depthwise kernel, in pixels.
        strides: Step of the depthwise convolution, along both axes.
        bn_momentum: Momentum of the moving statistics.
        bn_epsilon: Small value added to the variance.
        expanded: Number of expanded channels, instead of `expansion` times the input channels.
        activation: Keras name of the activation.
        squeeze: Channels between the two layers of squeeze-and-excitation; None disables it.
        squeeze_activation: Activation after the first of these layers.
        gate: Activation after the second.
        drop_path: Fraction of images that skip the block in training, if it has a shortcut
            (stochastic depth).
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Feature maps of shape `(batch, height, width, channels)`.

    Returns:
        Feature maps of shape `(batch, ceil(height / strides), ceil(width / strides), filters)`.

    Raises:
        ValueError: If an argument is out of range, or the number of input channels is unknown.

    Example:
        >>> import numpy as np
        >>> block = InvertedResidual(16, expansion=6)
        >>> block(np.zeros((1, 28, 28, 16))).shape[1:] == (28, 28, 16)
        True
        >>> block.has_shortcut
        True

    Reference:
        Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018,
        https://arxiv.org/abs/1801.04381
    """

    def __init__(
        self,
        filters: int,
        expansion: int = 6,
        kernel_size: int = 3,
        strides: int = 1,
        bn_momentum: float = 0.9,
        bn_epsilon: float = 1e-3,
        expanded: int | None = None,
        activation: str = "relu6",
        squeeze: int | None = None,
        squeeze_activation: str = "relu",
        gate: str = "sigmoid",
        drop_path: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(filters, kernel_size, strides, bn_momentum, bn_epsilon, **kwargs)
        self.expansion = check_integer("expansion", expansion)
        self.expanded = None if expanded is None else check_integer("expanded", expanded)
        self.activation = check_activation("activation", activation)
        self.squeeze = None if squeeze is None else check_integer("squeeze", squeeze)
        self.squeeze_activation = check_activation("squeeze_activation", squeeze_activation)
        self.gate = check_activation("gate", gate)
        self.drop_path = check_fraction("drop_path", drop_path)

        self.expand: keras.layers.Layer | None = None
        self.excite: SqueezeExcite | None = None
        self.drop: keras.layers.Layer | None = None
        self.add: keras.layers.Layer | None = None

    @property
    def has_shortcut(self) -> bool:
        """Whether the input is added to the output; known once the block is built."""
        return self.add is not None

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the sublayers, whose widths depend on the input, and their weights."""
        channels = self.check_channels(input_shape)
        if self.expansion > 1 or self.expanded is not None:
            expanded = self.expanded or self.expansion * channels
            self.expand = self.pointwise_convolution(expanded, "expand")
            self.expand_bn = self.batch_normalization("expand")
            self.expand_relu = self._activation("expand")
        self.depthwise = self.depthwise_convolution()
        self.depthwise_bn = self.batch_normalization("depthwise")
        self.depthwise_relu = self._activation("depthwise")
        if self.squeeze is not None:
            self.excite = SqueezeExcite(
                self.squeeze,
                self.squeeze_activation,
                self.gate,
                dtype=self.dtype_policy,
                trainable=self.trainable,
                name=f"{self.name}_excite",
            )
        self.project = self.pointwise_convolution(self.filters, "project")
        self.project_bn = self.batch_normalization("project")
        output_shape = build_chain(self._chain, input_shape)
        if self.strides == 1 and channels == self.filters:
            if self.drop_path:
                self.drop = keras.layers.Dropout(
                    self.drop_path,
                    noise_shape=(None, 1, 1, 1),
                    dtype=self.dtype_policy,
                    name=f"{self.name}_drop",
                )
            # A layer rather than "+", so that the shortcut has a name in the flat graph.
            self.add = keras.layers.Add(dtype=self.dtype_policy, name=f"{self.name}_add")
            self.add.build([input_shape, output_shape])

    def call(self, inputs: Any) -> Any:
        """Apply the block; see the class for shapes."""
        outputs = inputs
        for layer in self._chain:
            # Unfold a block within a block, for the flat graph.
            is_block = isinstance(layer, SqueezeExcite)
            outputs = layer.call(outputs) if is_block else layer(outputs)
        if self.add is None:
            return outputs
        return self.add([inputs, outputs if self.drop is None else self.drop(outputs)])

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this block."""
        names = (
            "expansion", "expanded", "activation", "squeeze", "squeeze_activation", "gate",
            "drop_path",
        )  # fmt: skip
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def _activation(self, part: str) -> keras.layers.Layer:
        if self.activation == "relu6":
            return self.relu6(part)
        return keras.layers.Activation(
            self.activation, dtype=self.dtype_policy, name=f"{self.name}_{part}_act"
        )

    @property
    def _chain(self) -> list[keras.layers.Layer]:
        """The sublayers up to the shortcut, in the order in which they are applied."""
        rest = [self.depthwise, self.depthwise_bn, self.depthwise_relu]
        rest += [] if self.excite is None else [self.excite]
        rest += [self.project, self.project_bn]
        if self.expand is None:
            return rest
        return [self.expand, self.expand_bn, self.expand_relu, *rest]
