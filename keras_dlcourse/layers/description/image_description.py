"""The normalization of a network's pixels and the names of its classes, stored in the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from keras_dlcourse.edge.description.labels import check_class_names
from keras_dlcourse.edge.description.normalization import Normalization

# After one of these, a network no longer sees the pixels that its input received. The operations
# are those of `keras.ops` with constants, as in `x / 255` and Keras's `preprocess_input`.
RESCALING_LAYERS = (keras.layers.Rescaling, keras.layers.Normalization)
RESCALING_OPERATIONS = ("Add", "Divide", "Multiply", "Subtract", "TrueDivide")


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class ImageDescription(keras.layers.Layer):
    """Identity layer that records the normalization of the input and the names of the classes.

    It changes no values. Its record is saved in the `.keras` file, so that export can write it into
    the `.tflite` file without further arguments. `describe(model)` finds it.

    Args:
        normalization: The normalization applied to pixels of 0 to 255 *before* they reach the
            network, or None if unknown. (Also accepts its own `to_dict()`, as found in configs.)
        class_names: Names of the classes in the order of the network's outputs, or None.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Images of shape `(batch, height, width, channels)`.

    Returns:
        The inputs.

    Raises:
        TypeError: If `normalization` is not a Normalization, or `class_names` is not a sequence of
            strings.
        ValueError: If `class_names` is empty, or contains an empty or repeated name.

    Example:
        >>> from keras_dlcourse.edge.description.normalization import Normalization
        >>> layer = ImageDescription(Normalization((127.5,), (127.5,)), ["cat", "dog"])
        >>> layer.class_names
        ('cat', 'dog')
    """

    def __init__(
        self,
        normalization: Normalization | Mapping[str, Any] | None = None,
        class_names: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.normalization = _check_normalization(normalization)
        self.class_names = None if class_names is None else check_class_names(class_names)

    def call(self, inputs: Any) -> Any:
        """Return `inputs`."""
        return inputs

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return `input_shape`."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this layer, as JSON-serializable values."""
        normalization, names = self.normalization, self.class_names
        return {
            **super().get_config(),
            "normalization": None if normalization is None else normalization.to_dict(),
            "class_names": None if names is None else list(names),
        }


def describe(model: keras.layers.Layer) -> ImageDescription | None:
    """Find the recorded description of a model's input images and classes.

    Nested models and wrappers are searched too, in the order of the graph. If there are several
    descriptions, the first normalization and the first names found are used, so that a model around
    a pretrained backbone can name its own classes. A normalization recorded after a
    `keras.layers.Rescaling`, a `keras.layers.Normalization` or arithmetic with constants is
    ignored: it is not what the model's own input expects.

    Args:
        model: A Keras model or layer.

    Returns:
        The description, or None if the model has none.

    Example:
        >>> import keras
        >>> inputs = keras.Input((8, 8, 1))
        >>> outputs = keras.layers.Flatten()(ImageDescription(class_names=["a", "b"])(inputs))
        >>> describe(keras.Model(inputs, outputs)).class_names
        ('a', 'b')
    """
    normalization, class_names, rescaled = None, None, False
    found = []
    for layer in _walk(model):
        if _is_rescaling(layer):
            rescaled = True
        elif isinstance(layer, ImageDescription):
            found.append(layer)
            if not rescaled:
                normalization = normalization or layer.normalization
            class_names = class_names or layer.class_names
    for layer in found:
        if (layer.normalization, layer.class_names) == (normalization, class_names):
            return layer
    return ImageDescription(normalization, class_names) if found else None


def _check_normalization(
    normalization: Normalization | Mapping[str, Any] | None,
) -> Normalization | None:
    """Return a Normalization (created from its config if necessary), or raise TypeError."""
    if isinstance(normalization, Mapping):
        return Normalization.from_dict(dict(normalization))
    if normalization is None or isinstance(normalization, Normalization):
        return normalization
    raise TypeError(
        "normalization must be a keras_dlcourse.data.Normalization or None. "
        f"Received: {normalization!r}"
    )


def _walk(layer: Any) -> Iterator[Any]:
    """Yield a layer and everything inside it, in the order of the graph."""
    yield layer
    # A functional model may have operations of `keras.ops` between its layers.
    inner = list(getattr(layer, "operations", None) or getattr(layer, "layers", []))
    if isinstance(layer, keras.layers.Wrapper):
        inner.append(layer.layer)
    for part in inner:
        yield from _walk(part)


def _is_rescaling(part: Any) -> bool:
    """Whether a layer or operation changes its one input by constants."""
    if isinstance(part, keras.layers.Layer):
        return isinstance(part, RESCALING_LAYERS)
    return type(part).__name__ in RESCALING_OPERATIONS and isinstance(part.input, keras.KerasTensor)
