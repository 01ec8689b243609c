"""Kernels of several sizes in parallel on the same maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_dlcourse._checks import check_integer
from keras_dlcourse.layers.blocks._composite import (
    CompositeLayer,
    build_chain,
    convolution_and_relu,
    run_chain,
)


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class InceptionModule(CompositeLayer):
    """1x1, 3x3 and 5x5 convolutions and a pooling on the same maps, concatenated along channels.

    The best kernel size is learned, not chosen. 1x1 convolutions before the large kernels and after
    the pooling reduce the number of channels; otherwise the cost would grow with each module, as it
    does with the naive module.

    Args:
        filters_1x1: Channels of the 1x1 convolution.
        filters_3x3: Channels of the reduction and of the 3x3 convolution; one number in a naive
            module.
        filters_5x5: Channels of the reduction and of the 5x5 convolution; one number in a naive
            module.
        filters_pool: Channels after the pooling; None, in a naive module, keeps those of the input.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Feature maps `(batch, height, width, channels)`.

    Returns:
        `(batch, height, width, all channels)`.

    Raises:
        TypeError: If a value is not an integer.
        ValueError: If a value is below 1, or there are more than two.

    Example:
        >>> import numpy as np
        >>> maps = np.zeros((1, 8, 8, 192))
        >>> module = InceptionModule(64, (96, 128), (16, 32), 32)
        >>> naive = InceptionModule(64, 128, 32)
        >>> module(maps).shape[-1], naive(maps).shape[-1]
        (256, 416)
        >>> module.count_params(), naive.count_params()
        (163696, 387296)

    Reference:
        Szegedy et al., "Going Deeper with Convolutions", CVPR 2015,
        https://arxiv.org/abs/1409.4842, figure 2
    """

    def __init__(
        self,
        filters_1x1: int,
        filters_3x3: int | Sequence[int],
        filters_5x5: int | Sequence[int],
        filters_pool: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters_1x1 = check_integer("filters_1x1", filters_1x1)
        self.filters_3x3 = _pair("filters_3x3", filters_3x3)
        self.filters_5x5 = _pair("filters_5x5", filters_5x5)
        self.filters_pool = (
            None if filters_pool is None else check_integer("filters_pool", filters_pool)
        )
        self.input_spec = keras.layers.InputSpec(ndim=4)
        self.paths = [
            convolution_and_relu(self, self.filters_1x1, 1, "1x1"),
            self._make_branch(self.filters_3x3, 3),
            self._make_branch(self.filters_5x5, 5),
            self._make_pooling_branch(),
        ]
        self.join = keras.layers.Concatenate(dtype=self.dtype_policy, name=f"{self.name}_join")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights."""
        self.join.build([build_chain(path, input_shape) for path in self.paths])

    def call(self, inputs: Any) -> Any:
        """Apply the module; see the class for shapes."""
        return self.join([run_chain(path, inputs) for path in self.paths])

    def _make_branch(self, filters: int | tuple[int, int], size: int) -> list[keras.layers.Layer]:
        if isinstance(filters, int):
            return convolution_and_relu(self, filters, size, f"{size}x{size}")
        before = convolution_and_relu(self, filters[0], 1, f"{size}x{size}_reduce")
        return [*before, *convolution_and_relu(self, filters[1], size, f"{size}x{size}")]

    def _make_pooling_branch(self) -> list[keras.layers.Layer]:
        pool = keras.layers.MaxPooling2D(
            3, 1, "same", data_format="channels_last", dtype=self.dtype_policy,
            name=f"{self.name}_pool",
        )  # fmt: skip
        if self.filters_pool is None:
            return [pool]
        return [pool, *convolution_and_relu(self, self.filters_pool, 1, "pool_project")]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return `(batch, height, width, all channels)`."""
        pooled = input_shape[-1] if self.filters_pool is None else self.filters_pool
        if pooled is None:
            raise ValueError("InceptionModule needs to know the number of channels.")
        large = [_last(filters) for filters in (self.filters_3x3, self.filters_5x5)]
        return (*input_shape[:-1], self.filters_1x1 + sum(large) + pooled)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this module."""
        names = ("filters_1x1", "filters_3x3", "filters_5x5", "filters_pool")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _pair(name: str, filters: int | Sequence[int]) -> int | tuple[int, int]:
    if not isinstance(filters, Sequence):
        return check_integer(name, filters)
    if len(filters) != 2:
        raise ValueError(f"{name} must be one number, or two: reduction and kernel. Received: "
                         f"{filters!r}")  # fmt: skip
    return check_integer(name, filters[0]), check_integer(name, filters[1])


def _last(filters: int | tuple[int, int]) -> int:
    return filters if isinstance(filters, int) else filters[1]
