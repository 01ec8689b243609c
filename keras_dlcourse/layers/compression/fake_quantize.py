"""Activations rounded to values that eight bits can represent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_dlcourse import backend
from keras_dlcourse._checks import check_fraction

RANGES = ("moving_average", "learned")


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class FakeQuantize(keras.layers.Layer):
    """Round activations to the 256 codes of a range, as an integer device does.

    The range is one of:

    - `"moving_average"`: moving averages of the smallest and largest value of each training batch;
      the first batch counts in full.
    - `"learned"`: the range of the first batch, times two trained factors (LSQ).
    - `(low, high)`: fixed, for kernels with a fixed output range: softmax, sigmoid, tanh.

    Ranges always include 0. Until a range has been observed, values pass unchanged. Computed in
    float32 under every dtype policy; gradients are straight-through: 1 inside the range, 0 outside.

    Args:
        ranges: Where the range comes from, see above.
        momentum: Weight of the past in the moving average, at least 0 and below 1.
        in_training: Whether to round in training too. A softmax at the end of a network should not
            be rounded: its loss needs the logarithm of small probabilities, which would round to 0.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer. With
            `trainable=False` the range is not updated.

    Call arguments:
        inputs: A tensor of any shape.
        training: Whether the range is updated.

    Returns:
        A tensor of the same shape and type.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import numpy as np
        >>> layer = FakeQuantize(ranges=(0.0, 255.0))
        >>> np.asarray(layer(np.array([-3.0, 0.4, 7.6, 300.0], "float32"))).tolist()
        [0.0, 0.0, 8.0, 255.0]

    Reference:
        Jacob et al., "Quantization and Training of Neural Networks for Efficient
        Integer-Arithmetic-Only Inference", CVPR 2018, https://arxiv.org/abs/1712.05877; learned
        ranges: Esser et al., "Learned Step Size Quantization", ICLR 2020,
        https://arxiv.org/abs/1902.08153
    """

    def __init__(
        self,
        ranges: str | Sequence[float] = "moving_average",
        momentum: float = 0.99,
        in_training: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.ranges = _check_ranges(ranges)
        self.momentum = check_fraction("momentum", momentum)
        self.in_training = bool(in_training)

    @property
    def is_fixed(self) -> bool:
        """Whether the range is given instead of observed."""
        return not isinstance(self.ranges, str)

    def build(self, input_shape: Any) -> None:
        """Create the variables of the range."""
        if self.is_fixed:
            return
        # In float32 under every dtype policy, like the computation itself.
        exact = {"dtype": "float32", "autocast": False}
        state = {"shape": (), "initializer": "zeros", "trainable": False, **exact}
        # Replicas see different batches; the mean keeps their ranges equal.
        self.low = self.add_weight(name="low", aggregation="mean", **state)
        self.high = self.add_weight(name="high", aggregation="mean", **state)
        self.observed = self.add_weight(name="observed", aggregation="mean", **state)
        if self.ranges == "learned":
            self.factors = self.add_weight(name="factors", shape=(2,), initializer="ones", **exact)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Round `inputs`, after observing them in training."""
        x = ops.cast(inputs, "float32")
        if self.is_fixed:
            low, high = (ops.convert_to_tensor(end, "float32") for end in self.ranges)
            rounded = backend.fake_quantize(x, low, high)
        elif training and self.trainable:
            rounded = self._round(x, *self._observe(x))
        else:
            rounded = ops.cond(
                self.observed.value > 0,
                lambda: self._round(x, self.low.value, self.high.value),
                lambda: x,
            )
        if training and not self.in_training:
            return inputs
        return ops.cast(rounded, inputs.dtype)

    def range(self) -> tuple[float, float]:
        """Return the two ends of the range as floats, both 0 if nothing was observed."""
        if self.is_fixed:
            return self.ranges
        if not self.built:
            return 0.0, 0.0
        low, high = (float(ops.convert_to_numpy(end)) for end in (self.low, self.high))
        if self.ranges == "learned":
            first, second = ops.convert_to_numpy(ops.abs(self.factors)).tolist()
            return low * first, high * second
        return low, high

    def set_range(self, low: float, high: float) -> None:
        """Set the observed range, widened to include 0; learned factors are reset to 1."""
        self.low.assign(min(low, 0.0))
        self.high.assign(max(high, 0.0))
        self.observed.assign(1.0)
        if self.ranges == "learned":
            self.factors.assign([1.0, 1.0])

    def bake(self) -> FakeQuantize:
        """Return the layer with its range fixed, as a device will use it.

        Raises:
            ValueError: If nothing has been observed, or the range is not finite.
        """
        if not self.is_observed:
            raise ValueError(
                f"layer {self.name!r} has observed no range yet. Train the model, or measure its "
                "ranges with kd.quantize.calibrate(model, data)."
            )
        low, high = self.range()
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(
                f"the range of layer {self.name!r} is ({low}, {high}): training produced NaN or "
                "infinite values. Go back to an earlier checkpoint, or calibrate again."
            )
        if low == high:
            high = 1.0  # it saw only zeros, which any range includes
        return FakeQuantize(ranges=(low, high), name=self.name)

    @property
    def is_observed(self) -> bool:
        """Whether there is a range to round to."""
        if self.is_fixed or not self.built:
            return self.is_fixed
        return float(ops.convert_to_numpy(self.observed)) > 0

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return `input_shape`."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this layer."""
        return {
            **super().get_config(),
            "ranges": self.ranges,
            "momentum": self.momentum,
            "in_training": self.in_training,
        }

    def _observe(self, x: Any) -> tuple[Any, Any]:
        """Update the range with a batch, and return it."""
        x = ops.stop_gradient(x)
        seen = self.observed.value > 0
        keep = self.momentum if self.ranges == "moving_average" else 1.0
        keep = ops.where(seen, keep, 0.0)
        low = keep * self.low + (1 - keep) * ops.minimum(ops.min(x), 0.0)
        high = keep * self.high + (1 - keep) * ops.maximum(ops.max(x), 0.0)
        self.low.assign(low)
        self.high.assign(high)
        self.observed.assign(ops.ones(()))
        return low, high

    def _round(self, x: Any, low: Any, high: Any) -> Any:
        if self.ranges != "learned":
            return backend.fake_quantize(x, low, high)
        # Every value of the batch adds to the factors' gradient: LSQ divides it by sqrt(255 n).
        share = 1.0 / ops.sqrt(255.0 * ops.cast(ops.size(x), "float32"))
        factors = ops.abs(self.factors.value)
        factors = factors * share + ops.stop_gradient(factors * (1 - share))
        return backend.portable.fake_quantize_learned(x, low * factors[0], high * factors[1])


def is_quantized(model: keras.Model) -> bool:
    """Whether a model has layers that round activations."""
    return any(isinstance(layer, FakeQuantize) for layer in model._flatten_layers())


def _check_ranges(ranges: Any) -> Any:
    """Return one of the names or the two ends as floats, or raise ValueError."""
    if isinstance(ranges, str):
        if ranges in RANGES:
            return ranges
        raise ValueError(
            f"ranges must be {' or '.join(map(repr, RANGES))}, or two numbers (low, high). "
            f"Received: {ranges!r}"
        )
    try:
        low, high = (float(end) for end in ranges)
        holds_zero = math.isfinite(low) and math.isfinite(high) and low <= 0 <= high
    except (TypeError, ValueError):
        holds_zero = False
    if not holds_zero or low == high:
        raise ValueError(
            "ranges must be two different numbers (low, high), with low <= 0 <= high, because 0 "
            f"must be exact in integers (padding, ReLU). Received: {ranges!r}"
        )
    return low, high
