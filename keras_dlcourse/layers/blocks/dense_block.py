"""Dense block: each layer sees the outputs of all previous layers in the block."""

from __future__ import annotations

from typing import Any

import keras

from keras_dlcourse._checks import check_fraction, check_integer, check_number
from keras_dlcourse.layers.blocks._composite import ConvolutionBlock, build_chain, run_chain

_BOTTLENECK = 4  # channels of the 1x1 convolution, as a multiple of the growth rate


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class DenseBlock(ConvolutionBlock):
    """DenseNet block: every layer adds a few channels, and all channels are kept.

        x = concatenate(x, convolution(ReLU(BN(x))))       for each of the layers

    With a bottleneck, each of these is preceded by a 1x1 convolution to four times the growth rate,
    with its own normalization.

    Args:
        repeats: Number of layers.
        growth_rate: Channels that each layer adds (k in the paper).
        bottleneck: Whether each layer starts with a 1x1 convolution.
        dropout: Fraction of each layer's outputs to drop in training.
        kernel_size: Height and width of the kernels.
        bn_momentum: Momentum of the moving statistics.
        bn_epsilon: Small value added to the variance.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Feature maps `(batch, height, width, channels)`.

    Returns:
        `(batch, height, width, channels + repeats * growth_rate)`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import numpy as np
        >>> DenseBlock(3, growth_rate=4)(np.zeros((1, 8, 8, 6))).shape[1:] == (8, 8, 18)
        True

    Reference:
        Huang et al., "Densely Connected Convolutional Networks", CVPR 2017,
        https://arxiv.org/abs/1608.06993
    """

    def __init__(
        self,
        repeats: int,
        growth_rate: int = 32,
        bottleneck: bool = True,
        dropout: float = 0.0,
        kernel_size: int = 3,
        bn_momentum: float = 0.9,
        bn_epsilon: float = 1e-5,
        **kwargs: Any,
    ) -> None:
        growth_rate = check_integer("growth_rate", growth_rate)
        super().__init__(growth_rate, kernel_size, 1, bn_momentum, bn_epsilon, **kwargs)
        self.repeats = check_integer("repeats", repeats)
        self.growth_rate = growth_rate
        self.bottleneck = bool(bottleneck)
        self.dropout = check_fraction("dropout", dropout)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the sublayers and their weights."""
        channels = self.check_channels(input_shape)
        self.chains = [self._layer(str(number)) for number in range(1, self.repeats + 1)]
        self.joins = [
            keras.layers.Concatenate(dtype=self.dtype_policy, name=f"{self.name}_join_{number}")
            for number in range(1, self.repeats + 1)
        ]
        for chain, join in zip(self.chains, self.joins, strict=True):
            shape = (*input_shape[:-1], channels)
            join.build([shape, build_chain(chain, shape)])
            channels += self.growth_rate

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Apply the block; see the class for shapes."""
        outputs = inputs
        for chain, join in zip(self.chains, self.joins, strict=True):
            outputs = join([outputs, run_chain(chain, outputs)])
        return outputs

    def _layer(self, number: str) -> list[keras.layers.Layer]:
        layers = [self.batch_normalization(number), self.relu(number)]
        if self.bottleneck:
            part = f"{number}_bottleneck"
            width = _BOTTLENECK * self.growth_rate
            layers += [self.convolution(width, 1, part), self.batch_normalization(part)]
            layers.append(self.relu(part))
        layers.append(self.convolution(self.growth_rate, self.kernel_size, number))
        if self.dropout:
            name = f"{self.name}_{number}_dropout"
            layers.append(keras.layers.Dropout(self.dropout, dtype=self.dtype_policy, name=name))
        return layers

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return `(batch, height, width, channels + repeats * growth_rate)`."""
        channels = self.check_channels(input_shape)
        return (*input_shape[:-1], channels + self.repeats * self.growth_rate)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this block."""
        config = super().get_config()
        del config["filters"], config["strides"]
        return {
            **config,
            "repeats": self.repeats,
            "growth_rate": self.growth_rate,
            "bottleneck": self.bottleneck,
            "dropout": self.dropout,
        }


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class DenseTransition(ConvolutionBlock):
    """DenseNet transition between dense blocks: fewer channels and smaller maps.

        x = average_pooling(convolution 1x1(ReLU(BN(x))))

    Args:
        compression: Fraction of the channels to keep, above 0 and up to 1, rounded down.
        strides: Factor by which the maps shrink; 1 omits the pooling.
        dropout: Fraction of values to drop in training, before the pooling.
        bn_momentum: Momentum of the moving statistics.
        bn_epsilon: Small value added to the variance.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Feature maps `(batch, height, width, channels)`.

    Returns:
        `(batch, height // strides, width // strides, channels * compression)`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import numpy as np
        >>> DenseTransition(0.5)(np.zeros((1, 8, 8, 18))).shape[1:] == (4, 4, 9)
        True

    Reference:
        Huang et al., "Densely Connected Convolutional Networks", CVPR 2017,
        https://arxiv.org/abs/1608.06993
    """

    def __init__(
        self,
        compression: float = 0.5,
        strides: int = 2,
        dropout: float = 0.0,
        bn_momentum: float = 0.9,
        bn_epsilon: float = 1e-5,
        **kwargs: Any,
    ) -> None:
        super().__init__(1, 1, strides, bn_momentum, bn_epsilon, **kwargs)
        self.compression = check_number("compression", compression, above=0, most=1)
        self.dropout = check_fraction("dropout", dropout)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the sublayers and their weights."""
        filters = self._filters(self.check_channels(input_shape))
        self.chain = [self.batch_normalization("in"), self.relu("in")]
        self.chain.append(self.convolution(filters, 1, "convolution"))
        options = {"dtype": self.dtype_policy}
        if self.dropout:
            name = f"{self.name}_dropout"
            self.chain.append(keras.layers.Dropout(self.dropout, name=name, **options))
        if self.strides > 1:
            pool = keras.layers.AveragePooling2D(self.strides, name=f"{self.name}_pool", **options)
            self.chain.append(pool)
        build_chain(self.chain, input_shape)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Apply the transition; see the class for shapes."""
        return run_chain(self.chain, inputs)

    def _filters(self, channels: int) -> int:
        return max(1, int(channels * self.compression))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return `(batch, height // strides, width // strides, channels * compression)`."""
        batch, *sizes, channels = input_shape
        sizes = [None if size is None else size // self.strides for size in sizes]
        return batch, *sizes, self._filters(self.check_channels(input_shape))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this transition."""
        config = super().get_config()
        del config["filters"], config["kernel_size"]
        return {**config, "compression": self.compression, "dropout": self.dropout}
