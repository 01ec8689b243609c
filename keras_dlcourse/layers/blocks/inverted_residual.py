"""Inverted residual with a linear bottleneck: widen, filter in space, narrow, add the input."""

from __future__ import annotations

from typing import Any

import keras

from keras_dlcourse._checks import fraction, positive_int
from keras_dlcourse.layers.blocks._composite import ConvolutionBlock, build_chain
from keras_dlcourse.layers.blocks.squeeze_excite import SqueezeExcite, known_activation


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class InvertedResidual(ConvolutionBlock):
    """Expansion, depthwise convolution and linear projection, with a shortcut where sizes allow it.

    Where a classical residual block narrows, works and widens again, this one widens a narrow input
    by `expansion`, filters each channel in space, and projects back to a few channels *without* a
    nonlinearity, because ReLU6 would lose information in few channels:

        h = ReLU6(BN(expand(x)))          # 1x1; left out when expansion is 1
        h = ReLU6(BN(depthwise(h)))       # k x k, with the strides
        y = BN(project(h))                # 1x1, linear
        y = x + y                         # if strides is 1 and x has `filters` channels

    This is the block of MobileNetV2. With another activation, and squeeze and excitation behind the
    depthwise convolution, it is that of MobileNetV3 and EfficientNet. Convolutions have no bias.
    Weights stand in the order of the blocks of `keras.applications`.

    Args:
        filters: Output channels.
        expansion: By how much the block widens its input (t in the paper).
        kernel_size: Height and width of the depthwise kernel, in pixels.
        strides: Step of the depthwise convolution, along both axes.
        bn_momentum: Momentum of the moving statistics.
        bn_epsilon: Added to the variance.
        expanded: Channels between, instead of `expansion` times those of the input.
        activation: By its Keras name.
        squeeze: Channels between the two layers of squeeze and excitation; None for none.
        squeeze_activation: Behind the first of these.
        gate: Behind the second.
        drop_path: Share of images for which the block is left out in training, where it has a
            shortcut (stochastic depth).
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Feature maps of shape `(batch, height, width, channels)`.

    Returns:
        Feature maps of shape `(batch, ceil(height / strides), ceil(width / strides), filters)`.

    Raises:
        ValueError: If an argument is out of its range, or the number of input channels is unknown.

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
        self.expansion = positive_int("expansion", expansion)
        self.expanded = None if expanded is None else positive_int("expanded", expanded)
        self.activation = known_activation("activation", activation)
        self.squeeze = None if squeeze is None else positive_int("squeeze", squeeze)
        self.squeeze_activation = known_activation("squeeze_activation", squeeze_activation)
        self.gate = known_activation("gate", gate)
        self.drop_path = fraction("drop_path", drop_path)

        self.expand: keras.layers.Layer | None = None
        self.excite: SqueezeExcite | None = None
        self.drop: keras.layers.Layer | None = None
        self.add: keras.layers.Layer | None = None

    @property
    def has_shortcut(self) -> bool:
        """Whether the input is added to the output; known once the block is built."""
        return self.add is not None

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the sublayers, whose widths depend on the input, and their weights."""
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
            # A layer, not "+": the flat graph then names the shortcut.
            self.add = keras.layers.Add(dtype=self.dtype_policy, name=f"{self.name}_add")
            self.add.build([input_shape, output_shape])

    def call(self, inputs: Any) -> Any:
        """Apply the block; see the class for shapes."""
        outputs = inputs
        for layer in self._chain:
            # A block within a block is opened, for the flat graph.
            is_block = isinstance(layer, SqueezeExcite)
            outputs = layer.call(outputs) if is_block else layer(outputs)
        if self.add is None:
            return outputs
        return self.add([inputs, outputs if self.drop is None else self.drop(outputs)])

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this block again."""
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
