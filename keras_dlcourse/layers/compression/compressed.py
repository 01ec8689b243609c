"""Layers whose weights pass through transforms, such as pruning, clustering or rounding to int8.

A compressed layer is its Keras layer in every other way: `CompressedConv2D` is a `Conv2D` with the
same arguments and the same weights in the same order. The stored weights are those of the
optimizer; each call transforms them again before use, in float32 even under mixed precision.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from keras_dlcourse import backend
from keras_dlcourse.layers._remade import arguments

PACKAGE = "keras_dlcourse"


class WeightTransform(keras.layers.Layer):
    """A transform of a weight, applied before its layer uses it.

    Subclasses define `call(weight)`, which takes a float32 tensor and returns one of the same
    shape. State, such as a mask, is created in `build(shape)` with `self.add_state` and saved with
    the layer.

    Args:
        **kwargs: `name` and `trainable`, as for every Keras layer.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})

    def add_state(self, name: str, shape: Any, initializer: Any, **kwargs: Any) -> Any:
        """Add a variable that stays float32 in mixed precision; not trainable by default."""
        return self.add_weight(
            name=name,
            shape=tuple(shape),
            initializer=initializer,
            **{"trainable": False, "autocast": False, **kwargs},
        )

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return `input_shape`."""
        return input_shape


@keras.saving.register_keras_serializable(package=PACKAGE)
class FakeQuantizeWeight(WeightTransform):
    """Round a weight to 255 codes, symmetric around 0, with one scale for each output channel.

    The scale of a channel is its largest absolute value / 127, so that an integer kernel can
    represent these values exactly. Gradients are straight-through. Batch normalization after the
    layer multiplies each channel by its own factor, which becomes part of that channel's scale:
    folded into the kernel or not, the codes are the same.

    Args:
        axis: The axis of output channels, or several axes that form them together: `(-2, -1)` for
            depthwise kernels, which have one output channel per channel and multiplier.
        **kwargs: `name` and `trainable`, as for every Keras layer.

    Example:
        >>> import numpy as np
        >>> rounded = FakeQuantizeWeight(axis=-1)(np.array([[1.0, 4.0], [0.501, -1.0]]))
        >>> np.asarray(rounded).astype("float64").round(3).tolist()
        [[1.0, 4.0], [0.504, -1.008]]

    Reference:
        Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference", 2018,
        https://arxiv.org/abs/1806.08342
    """

    def __init__(self, axis: int | Sequence[int] = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = int(axis) if isinstance(axis, int) else tuple(int(one) for one in axis)

    def call(self, weight: Any) -> Any:
        """Return the weight, rounded."""
        return backend.fake_quantize_per_channel(weight, self.axis)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this transform."""
        return {**super().get_config(), "axis": self.axis}


class CompressedLayer:
    """Mixin for Keras layers whose weights pass through transforms in each call.

    Args:
        *args: Arguments of the Keras layer.
        weight_transforms: The transforms of each weight, in order, by attribute name.
        **kwargs: Arguments of the Keras layer.
    """

    keras_class: type[Any]

    def __init__(
        self,
        *args: Any,
        weight_transforms: Mapping[str, Sequence[WeightTransform]],
        **kwargs: Any,
    ) -> None:
        self._transformed = tuple(
            name for name, transforms in weight_transforms.items() for _ in transforms
        )  # before super().__init__: add_weight asks for it
        super().__init__(*args, **kwargs)
        # A flat list: Keras saves the state of layers in lists, but not in nested lists.
        self.transforms = [
            keras.saving.deserialize_keras_object(transform)
            if isinstance(transform, Mapping)
            else transform
            for transforms in weight_transforms.values()
            for transform in transforms
        ]

    @property
    def weight_transforms(self) -> dict[str, list[WeightTransform]]:
        """The transforms of each transformed weight, in order, by attribute name."""
        found: dict[str, list[WeightTransform]] = {}
        for name, transform in zip(self._transformed, self.transforms, strict=True):
            found.setdefault(name, []).append(transform)
        return found

    @property
    def stored_weights(self) -> list[Any]:
        """The weights of the Keras layer, without the state of the transforms."""
        state = {id(weight) for transform in self.transforms for weight in transform.weights}
        return [weight for weight in self.weights if id(weight) not in state]  # type: ignore[attr-defined]

    def add_weight(self, *args: Any, name: str | None = None, **kwargs: Any) -> Any:
        """Keep transformed weights in float32, whatever dtype the layer computes in."""
        if name in self._transformed:
            kwargs["autocast"] = False
        return super().add_weight(*args, name=name, **kwargs)  # type: ignore[misc]

    def build(self, *args: Any, **kwargs: Any) -> None:
        """Create the layer's weights, then the state of the transforms."""
        super().build(*args, **kwargs)  # type: ignore[misc]
        for name, transform in zip(self._transformed, self.transforms, strict=True):
            if not transform.built:
                transform.build(tuple(getattr(self, name).shape))

    def transform_weight(self, name: str) -> Any:
        """Return a weight as the layer uses it, in float32."""
        weight = getattr(self, name).value
        for transform in self.weight_transforms[name]:
            weight = transform(weight)
        return weight

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Compute what the Keras layer computes, with transformed weights."""
        # Outside the scope below, in which assignments do not reach the variables.
        variables = self._own_variables
        given = {id(variable): variable.value for variable in variables}
        for name in self.weight_transforms:
            values = ops.cast(self.transform_weight(name), self.compute_dtype)  # type: ignore[attr-defined]
            given[id(getattr(self, name))] = values
        scope = keras.StatelessScope(collect_losses=True)
        for variable in variables:
            scope.add_update((variable, given[id(variable)]))
        with scope, _autocast([getattr(self, name) for name in self.weight_transforms]):
            outputs = super().call(*args, **kwargs)  # type: ignore[misc]
        for variable in variables:
            value = scope.get_current_value(variable)
            if value is not given[id(variable)]:  # the layer updated one of its statistics
                variable.assign(value)
        for loss in scope.losses:
            self.add_loss(loss)  # type: ignore[attr-defined]
        return outputs

    @property
    def _own_variables(self) -> list[Any]:
        """The variables of the Keras layer: its weights and the state of its random generators."""
        state = {id(value) for transform in self.transforms for value in transform.variables}
        return [value for value in self.variables if id(value) not in state]  # type: ignore[attr-defined]

    def bake(self) -> keras.layers.Layer:
        """Return the plain Keras layer, with the transformed weights."""
        config = arguments(self)
        del config["weight_transforms"]
        plain = self.keras_class.from_config(config)
        plain.build_from_config(self.get_build_config())  # type: ignore[attr-defined]
        plain.set_weights([ops.convert_to_numpy(weight) for weight in self.stored_weights])
        for name in self.weight_transforms:
            getattr(plain, name).assign(self.transform_weight(name))
        return plain

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this layer."""
        transforms = {
            name: [keras.saving.serialize_keras_object(transform) for transform in transforms]
            for name, transforms in self.weight_transforms.items()
        }
        return {**super().get_config(), "weight_transforms": transforms}  # type: ignore[misc]


@contextlib.contextmanager
def _autocast(variables: Sequence[Any]) -> Iterator[None]:
    """Let variables report the layer's compute dtype, which their values have.

    Operations check the dtype of the variable, not of its value; float32 would make a whole Dense
    layer float32.
    """
    for variable in variables:
        variable._autocast = True
    try:
        yield
    finally:
        for variable in variables:
            variable._autocast = False


def compressed(
    layer: keras.layers.Layer, weight_transforms: Mapping[str, Sequence[WeightTransform]]
) -> keras.layers.Layer:
    """Return a copy of a built layer whose weights pass through (more) transforms.

    Args:
        layer: A built Keras layer, or one that is already compressed: then the new transforms are
            added after the existing ones. To load it from a `.keras` file, `compressed_class` must
            have been called for its class.
        weight_transforms: The transforms of each weight, in order, by attribute name.

    Returns:
        A layer with the same name, arguments and weights.

    Raises:
        ValueError: If the layer has not been built, or does not have one of the weights.

    Example:
        >>> dense = keras.layers.Dense(3)
        >>> dense.build((None, 5))
        >>> copy = compressed(dense, {"kernel": [FakeQuantizeWeight(axis=-1)]})
        >>> type(copy).__name__, isinstance(copy, keras.layers.Dense), len(copy.weights)
        ('CompressedDense', True, 2)
    """
    if not layer.built:
        raise ValueError(f"layer {layer.name!r} has not been built, so it has no weights yet")
    missing = [name for name in weight_transforms if getattr(layer, name, None) is None]
    if missing:
        raise ValueError(f"layer {layer.name!r} has no weight {missing[0]!r}")
    before: dict[str, list[WeightTransform]] = getattr(layer, "weight_transforms", {})
    transforms = {
        name: [_copy(transform) for transform in before.get(name, ())]
        + list(weight_transforms.get(name, ()))
        for name in dict.fromkeys((*before, *weight_transforms))
    }
    kind = compressed_class(getattr(layer, "keras_class", type(layer)))
    copy = kind.from_config({**arguments(layer), "weight_transforms": transforms})
    copy.build_from_config(layer.get_build_config())
    for target, source in zip(
        copy.stored_weights, getattr(layer, "stored_weights", layer.weights), strict=True
    ):
        target.assign(ops.convert_to_numpy(source))
    return copy


def _copy(transform: WeightTransform) -> WeightTransform:
    """Return a copy with the same state."""
    copy = type(transform).from_config(transform.get_config())
    if transform.built:
        copy.build_from_config(transform.get_build_config())
        copy.set_weights(transform.get_weights())
    return copy


_CLASSES: dict[type, type] = {}


def compressed_class(kind: type[keras.layers.Layer]) -> Any:
    """Return the compressed class of a layer class, created on the first call.

    It is registered with Keras under the class's own package, so that `.keras` files load.
    """
    if kind not in _CLASSES:
        package, _, name = keras.saving.get_registered_name(kind).rpartition(">")
        members = {
            "keras_class": kind,
            "__doc__": f"A `{name}` whose weights are transformed.",
            # Keras reads the arguments of a layer from these two signatures.
            "build": _wrap_with_signature(kind.build, CompressedLayer.build),
            "call": _wrap_with_signature(kind.call, CompressedLayer.call),
        }
        made = type(f"Compressed{name}", (CompressedLayer, kind), members)
        _CLASSES[kind] = keras.saving.register_keras_serializable(package=package or PACKAGE)(made)
    return _CLASSES[kind]


def _wrap_with_signature(original: Callable[..., Any], method: Callable[..., Any]) -> Any:
    """Return a method that behaves like `method` with the signature of `original`."""

    @functools.wraps(original)
    def looks_alike(*args: Any, **kwargs: Any) -> Any:
        return method(*args, **kwargs)

    return looks_alike


for _kind in (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.Dense,
    keras.layers.EinsumDense,
):
    compressed_class(_kind)
