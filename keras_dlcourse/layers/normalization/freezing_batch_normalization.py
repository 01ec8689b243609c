"""Batch normalization that stops using batch statistics."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_dlcourse._checks import check_integer


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class FreezingBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalization that switches to its moving statistics after some training steps.

    Until then it is `keras.layers.BatchNormalization`. From then on training computes the same as
    inference, which the last part of quantization-aware training needs: the noise of batch
    statistics is as large as a quantization step. Scale and offset continue to train.

    Args:
        *args: Arguments of `keras.layers.BatchNormalization`.
        freeze_after: Number of training steps with batch statistics, at least 0.
        **kwargs: Arguments of `keras.layers.BatchNormalization`.

    Call arguments:
        inputs: A tensor whose normalized axis has a known size.
        training: Whether to use batch statistics, until they are frozen.
        mask: As for `keras.layers.BatchNormalization`.

    Returns:
        A tensor of the same shape.

    Raises:
        TypeError: If `freeze_after` is not an integer.
        ValueError: If `freeze_after` is below 0.

    Example:
        >>> import numpy as np
        >>> layer = FreezingBatchNormalization(freeze_after=0)
        >>> x = np.full((4, 2), 3.0, "float32")
        >>> frozen, plain = layer(x, training=True), layer(x, training=False)
        >>> bool(keras.ops.all(keras.ops.isclose(frozen, plain)))
        True

    Reference:
        Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference", 2018,
        section 3.2.2, https://arxiv.org/abs/1806.08342
    """

    def __init__(self, *args: Any, freeze_after: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.freeze_after = check_integer("freeze_after", freeze_after, least=0)

    @classmethod
    def of(cls, layer: keras.layers.BatchNormalization, freeze_after: int) -> Any:
        """Return a copy of a built layer that freezes."""
        copy = cls.from_config({**layer.get_config(), "freeze_after": freeze_after})
        copy.build_from_config(layer.get_build_config())
        for target, source in zip(copy.weights, layer.weights, strict=False):
            target.assign(ops.convert_to_numpy(source))
        return copy

    def build(self, input_shape: Any) -> None:
        """Create the weights and the step counter."""
        super().build(input_shape)
        self.steps = self.add_weight(
            name="steps",
            shape=(),
            initializer="zeros",
            dtype="int32",
            trainable=False,
            aggregation="only_first_replica",
        )

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalize `inputs`; see the class."""
        if not training or not self.trainable:
            return super().call(inputs, training=False, mask=mask)
        frozen = self.steps.value >= self.freeze_after
        self.steps.assign(ops.add(self.steps.value, 1))
        statistics = [
            weight for weight in self.weights if not weight.trainable and weight is not self.steps
        ]
        # Copies: on TensorFlow `weight.value` is the variable itself and changes on assignment.
        before = [ops.copy(weight.value) for weight in statistics]
        still = self._normalize_with(inputs, self.moving_mean.value, self.moving_variance.value)
        live = super().call(inputs, training=True, mask=mask)
        for weight, value in zip(statistics, before, strict=True):
            weight.assign(ops.where(frozen, value, weight.value))
        return ops.where(frozen, still, live)

    def _normalize_with(self, inputs: Any, mean: Any, variance: Any) -> Any:
        """Normalize with given statistics."""
        shape = [1] * len(inputs.shape)
        shape[self.axis] = inputs.shape[self.axis]
        factor = ops.rsqrt(ops.cast(variance, "float32") + self.epsilon)
        if self.scale:
            factor = factor * ops.cast(self.gamma, "float32")
        offset = -ops.cast(mean, "float32") * factor
        if self.center:
            offset = offset + ops.cast(self.beta, "float32")
        x = ops.cast(inputs, "float32")
        outputs = x * ops.reshape(factor, shape) + ops.reshape(offset, shape)
        return ops.cast(outputs, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this layer."""
        return {**super().get_config(), "freeze_after": self.freeze_after}
