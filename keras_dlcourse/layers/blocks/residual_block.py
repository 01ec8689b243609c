"""Residual block: two or three convolutions, with the input added to their output."""

from __future__ import annotations

from typing import Any

import keras

from keras_dlcourse._checks import check_fraction, check_integer, check_one_of
from keras_dlcourse.layers.blocks._composite import ConvolutionBlock, build_chain, run_chain

KINDS = ("basic", "bottleneck")
SHORTCUTS = ("project", "pad", "none")


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class ResidualBlock(ConvolutionBlock):
    """Residual block of ResNet, Wide ResNet and ResNeXt.

    The convolutions only learn the difference between output and input, and gradients pass through
    the sum undiminished, however many blocks are stacked.

        basic:         k x k, filters           -> k x k, filters
        bottleneck:    1 x 1, width             -> k x k, width, in groups -> 1 x 1, filters

    Each convolution has a batch normalization and a ReLU: after it, with the last ReLU after the
    sum (version 1), or before it, with nothing after the sum (version 2, `preactivation`).

    Args:
        filters: Output channels.
        kind: `"basic"` or `"bottleneck"`.
        kernel_size: Height and width of the spatial kernels.
        strides: Factor by which the output is smaller than the input.
        groups: Number of channel groups of the spatial convolution of a bottleneck (ResNeXt's
            cardinality).
        width: Channels inside a bottleneck; a fourth of `filters` by default.
        shortcut: How to add the input to an output of another size: `"project"` with a 1x1
            convolution (the paper's B), `"pad"` without weights, by skipping rows and columns and
            padding channels with zeros (A). `"none"` adds no input at all, for comparison with a
            plain network.
        preactivation: Whether normalization and ReLU come before the convolutions.
        strides_first: Whether a bottleneck applies its strides in the first convolution, as in the
            paper, instead of the spatial one, which loses less information.
        use_bias: Whether convolutions have a bias. Normalization makes it redundant, but
            `keras.applications` has it.
        zero_last_gamma: Whether to initialize the last normalization's scale with 0, so that the
            block starts as the identity. Version 1 only.
        dropout: Fraction of features to drop in training before the last convolution.
        bn_momentum: Momentum of the moving statistics.
        bn_epsilon: Small value added to the variance.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Feature maps `(batch, height, width, channels)`.

    Returns:
        `(batch, ceil(height / strides), ceil(width / strides), filters)`.

    Raises:
        ValueError: If an argument is out of range or does not apply to `kind`, if `groups` does not
            divide the width, or if `shortcut="pad"` would have to reduce the channels.

    Example:
        >>> import numpy as np
        >>> block = ResidualBlock(64, "bottleneck", groups=4, width=32, strides=2)
        >>> block(np.zeros((1, 28, 28, 16))).shape[1:] == (14, 14, 64)
        True

    Reference:
        He et al., "Deep Residual Learning for Image Recognition", CVPR 2016,
        https://arxiv.org/abs/1512.03385; "Identity Mappings in Deep Residual Networks", ECCV 2016,
        https://arxiv.org/abs/1603.05027 (version 2); Xie et al., "Aggregated Residual
        Transformations for Deep Neural Networks", CVPR 2017, https://arxiv.org/abs/1611.05431
        (groups)
    """

    def __init__(
        self,
        filters: int,
        kind: str = "basic",
        kernel_size: int = 3,
        strides: int = 1,
        groups: int = 1,
        width: int | None = None,
        shortcut: str = "project",
        preactivation: bool = False,
        strides_first: bool = False,
        use_bias: bool = False,
        zero_last_gamma: bool = False,
        dropout: float = 0.0,
        bn_momentum: float = 0.9,
        bn_epsilon: float = 1e-5,
        **kwargs: Any,
    ) -> None:
        super().__init__(filters, kernel_size, strides, bn_momentum, bn_epsilon, **kwargs)
        self.kind = check_one_of("kind", kind, KINDS)
        self.groups = check_integer("groups", groups)
        self.width = None if width is None else check_integer("width", width)
        self.shortcut = check_one_of("shortcut", shortcut, SHORTCUTS)
        self.preactivation = bool(preactivation)
        self.strides_first = bool(strides_first)
        self.use_bias = bool(use_bias)
        self.zero_last_gamma = bool(zero_last_gamma)
        self.dropout = check_fraction("dropout", dropout)
        self._check()
        self.side: list[keras.layers.Layer] = []
        self.add: keras.layers.Layer | None = None

    def _check(self) -> None:
        if self.kind == "basic" and (self.groups, self.width) != (1, None):
            raise ValueError("groups and width are only for kind='bottleneck'")
        if self._width % self.groups:
            raise ValueError(f"groups={self.groups} must divide the width, {self._width}")
        if self.zero_last_gamma and self.preactivation:
            raise ValueError(
                "zero_last_gamma is for version 1 only: with preactivation=True a ReLU follows "
                "the last normalization"
            )

    @property
    def _width(self) -> int:
        return self.width or max(1, self.filters // 4)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the sublayers, whose widths depend on the input, and their weights."""
        channels = self.check_channels(input_shape)
        joins = self.strides == 1 and channels == self.filters
        side = [] if joins or self.shortcut == "none" else self._shortcut(channels)
        main = self._main()
        # Weight order as in keras.applications: the shortcut comes before the last main layers.
        self.sublayers = _interleave(main, side)
        self.first = main[: self._shared]
        self.main, self.side = main[self._shared :], side
        shared = build_chain(self.first, input_shape)
        output_shape = build_chain(self.main, shared)
        build_chain(self.side, shared)
        if self.shortcut != "none":
            self.add = keras.layers.Add(dtype=self.dtype_policy, name=f"{self.name}_add")
            self.add.build([output_shape, output_shape])
        self.end = None if self.preactivation else self.relu("out")

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Apply the block; see the class for shapes."""
        shared = run_chain(self.first, inputs)
        outputs = run_chain(self.main, shared, training)
        if self.add is not None:
            # A shortcut that changes sizes gets the same input as the first convolution.
            beside = run_chain(self.side, shared) if self.side else inputs
            outputs = self.add([beside, outputs])
        return outputs if self.end is None else self.end(outputs)

    @property
    def _shared(self) -> int:
        """Number of sublayers that the shortcut shares: normalization and ReLU of version 2."""
        return 2 if self.preactivation else 0

    def _main(self) -> list[keras.layers.Layer]:
        """Return the convolutions with normalization and ReLU, in order."""
        sizes = self._sizes()
        layers: list[keras.layers.Layer] = []
        for number, (filters, kernel, strides, groups) in enumerate(sizes, 1):
            part, last = str(number), number == len(sizes)
            gamma = "zeros" if last and self.zero_last_gamma else "ones"
            around = [self.batch_normalization(part, gamma), self.relu(part)]
            middle = [self.convolution(filters, kernel, part, strides, groups, self.use_bias)]
            if last and self.dropout:
                dropout = keras.layers.Dropout(
                    self.dropout, dtype=self.dtype_policy, name=f"{self.name}_dropout"
                )
                middle.insert(0, dropout)
            if self.preactivation:
                layers += [*around, *middle]
            else:
                layers += [*middle, *(around[:1] if last else around)]
        return layers

    def _sizes(self) -> list[tuple[int, int, int, int]]:
        """Return channels, kernel size, strides and groups of each convolution."""
        kernel, strides = self.kernel_size, self.strides
        if self.kind == "basic":
            return [(self.filters, kernel, strides, 1), (self.filters, kernel, 1, 1)]
        first, second = (strides, 1) if self.strides_first else (1, strides)
        return [
            (self._width, 1, first, 1),
            (self._width, kernel, second, self.groups),
            (self.filters, 1, 1, 1),
        ]

    def _shortcut(self, channels: int) -> list[keras.layers.Layer]:
        """Return the layers that bring the input to the size of the output."""
        if self.shortcut == "pad":
            if channels > self.filters:
                raise ValueError(
                    f"shortcut='pad' needs at least as many filters as the {channels} input "
                    f"channels. Received: filters={self.filters}. Use shortcut='project'."
                )
            return self._make_padding(channels)
        convolution = self.convolution(
            self.filters, 1, "shortcut", self.strides, use_bias=self.use_bias
        )
        if self.preactivation:
            return [convolution]
        return [convolution, self.batch_normalization("shortcut")]

    def _make_padding(self, channels: int) -> list[keras.layers.Layer]:
        """Return the layers that skip rows and columns, and append channels of zeros."""
        layers: list[keras.layers.Layer] = []
        if self.strides > 1:
            layers.append(
                keras.layers.MaxPooling2D(
                    1,
                    self.strides,
                    padding="same",
                    dtype=self.dtype_policy,
                    name=f"{self.name}_subsample",
                )
            )
        if channels < self.filters:
            # With "channels_first" Keras pads the last two axes: here columns and channels.
            layers.append(
                keras.layers.ZeroPadding2D(
                    ((0, 0), (0, self.filters - channels)),
                    data_format="channels_first",
                    dtype=self.dtype_policy,
                    name=f"{self.name}_pad",
                )
            )
        return layers

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this block."""
        names = (
            "kind", "groups", "width", "shortcut", "preactivation", "strides_first", "use_bias",
            "zero_last_gamma", "dropout",
        )  # fmt: skip
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _interleave(
    main: list[keras.layers.Layer], side: list[keras.layers.Layer]
) -> list[keras.layers.Layer]:
    """Return all sublayers, with each of the last ones after its counterpart on the shortcut."""
    kept = len(main) - len(side)
    pairs = zip(side, main[kept:], strict=True)
    return [*main[:kept], *(layer for pair in pairs for layer in pair)]
