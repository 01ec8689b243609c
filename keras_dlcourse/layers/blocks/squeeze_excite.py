"""Channel weights computed from all positions."""

from __future__ import annotations

from typing import Any

import keras

from keras_dlcourse._checks import check_integer
from keras_dlcourse.layers.blocks._composite import CompositeLayer, build_chain, run_chain


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class SqueezeExcite(CompositeLayer):
    """Weight each channel by a value from 0 to 1 that depends on the whole image.

        weights = gate(expand(activation(squeeze(mean over positions of x))))
        y = x * weights

    Args:
        units: Channels between the two 1x1 convolutions.
        activation: Keras name of the activation after the first convolution.
        gate: Activation after the second, `"sigmoid"` or `"hard_sigmoid"`.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Feature maps `(batch, height, width, channels)`.

    Returns:
        The same shape.

    Raises:
        TypeError: If `units` is not an integer, or an activation is not a name.
        ValueError: If `units` is below 1, or an activation is unknown.

    Example:
        >>> import numpy as np
        >>> SqueezeExcite(4)(np.zeros((1, 8, 8, 16))).shape[1:] == (8, 8, 16)
        True

    Reference:
        Hu, Shen and Sun, "Squeeze-and-Excitation Networks", CVPR 2018,
        https://arxiv.org/abs/1709.01507; the hard sigmoid: Howard et al., "Searching for
        MobileNetV3", ICCV 2019, https://arxiv.org/abs/1905.02244
    """

    def __init__(
        self, units: int, activation: str = "relu", gate: str = "sigmoid", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.units = check_integer("units", units)
        self.activation = check_activation("activation", activation)
        self.gate = check_activation("gate", gate)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the sublayers and their weights."""
        channels = input_shape[-1]
        if channels is None:
            raise ValueError("SqueezeExcite needs to know the number of channels.")
        options = {"dtype": self.dtype_policy}
        self.pool = keras.layers.GlobalAveragePooling2D(
            data_format="channels_last", keepdims=True, name=f"{self.name}_pool", **options
        )
        self.squeeze = self._dense(self.units, "squeeze")
        self.act = keras.layers.Activation(self.activation, name=f"{self.name}_act", **options)
        self.expand = self._dense(channels, "expand")
        self.weigh = keras.layers.Activation(self.gate, name=f"{self.name}_gate", **options)
        self.scale = keras.layers.Multiply(name=f"{self.name}_scale", **options)
        gates = build_chain(self._chain, input_shape)
        self.scale.build([input_shape, gates])

    def call(self, inputs: Any) -> Any:
        """Return the weighted maps."""
        return self.scale([inputs, run_chain(self._chain, inputs)])

    @property
    def _chain(self) -> list[keras.layers.Layer]:
        return [self.pool, self.squeeze, self.act, self.expand, self.weigh]

    def _dense(self, units: int, part: str) -> keras.layers.Layer:
        return keras.layers.Conv2D(
            units,
            1,
            data_format="channels_last",
            dtype=self.dtype_policy,
            trainable=self.trainable,
            name=f"{self.name}_{part}",
        )

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return `input_shape`."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this layer."""
        names = ("units", "activation", "gate")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def check_activation(argument: str, name: str) -> str:
    """Return the name of a Keras activation, or raise an error."""
    if not isinstance(name, str):
        raise TypeError(f"{argument} must be the name of a Keras activation. Received: {name!r}")
    keras.activations.get(name)  # raises ValueError
    return name
