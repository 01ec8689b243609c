"""The normalization of a network's pixels, and its classes' names and thresholds, stored in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_dlcourse.edge.description.labels import check_class_names
from keras_dlcourse.edge.description.normalization import Normalization

# After one of these, a network no longer sees the pixels that its input received. The operations
# are those of `keras.ops` with constants, as in `x / 255` and Keras's `preprocess_input`.
RESCALING_LAYERS = (keras.layers.Rescaling, keras.layers.Normalization)
RESCALING_OPERATIONS = ("Add", "Divide", "Multiply", "Subtract", "TrueDivide")


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class ImageDescription(keras.layers.Layer):
    """Identity layer that records the input's normalization, and names and thresholds of classes.

    It changes no values. Its record is saved in the `.keras` file, so that export can write it into
    the `.tflite` file without further arguments. `describe(model)` finds it.

    Args:
        normalization: The normalization applied to pixels of 0 to 255 *before* they reach the
            network, or None if unknown. (Also accepts its own `to_dict()`, as found in configs.)
        class_names: Names of the classes in the order of the network's outputs, or None.
        score_thresholds: For each of these classes, the minimum score, from 0 to 1, at which it
            counts as present, or None. `record_thresholds` adds them to a trained network.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: Images of shape `(batch, height, width, channels)`.

    Returns:
        The inputs.

    Raises:
        TypeError: If `normalization` is not a Normalization, or `class_names` is not a sequence of
            strings.
        ValueError: If `class_names` is empty, or contains an empty or repeated name, or if
            `score_thresholds` are not one number from 0 to 1 for each class.

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
        score_thresholds: ArrayLike | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.normalization = _check_normalization(normalization)
        self.class_names = None if class_names is None else check_class_names(class_names)
        self.score_thresholds = score_thresholds

    @property
    def score_thresholds(self) -> tuple[float, ...] | None:
        """The thresholds, one for each class, or None."""
        return self._score_thresholds

    @score_thresholds.setter
    def score_thresholds(self, values: ArrayLike | None) -> None:
        self._score_thresholds = _check_thresholds(values, self.class_names)

    def call(self, inputs: Any) -> Any:
        """Return `inputs`."""
        return inputs

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return `input_shape`."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create this layer, as JSON-serializable values."""
        normalization, names = self.normalization, self.class_names
        thresholds = self.score_thresholds
        return {
            **super().get_config(),
            "normalization": None if normalization is None else normalization.to_dict(),
            "class_names": None if names is None else list(names),
            "score_thresholds": None if thresholds is None else list(thresholds),
        }


def describe(model: keras.layers.Layer) -> ImageDescription | None:
    """Find the recorded description of a model's input images and classes.

    Nested models and wrappers are searched too, in the order of the graph. If there are several
    descriptions, the first normalization and the first names found are used, with the thresholds of
    these names, so that a model around a pretrained backbone can name its own classes. A
    normalization recorded after a `keras.layers.Rescaling`, a `keras.layers.Normalization` or
    arithmetic with constants is ignored: it is not what the model's own input expects.

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
    found, normalization = [], None
    for layer, is_behind in _find_descriptions(model):
        found.append(layer)
        if not is_behind:
            normalization = normalization or layer.normalization
    named = _find_named(found)
    names = (None, None) if named is None else (named.class_names, named.score_thresholds)
    for layer in found:
        if (layer.normalization, layer.class_names, layer.score_thresholds) == (
            normalization, *names
        ):  # fmt: skip
            return layer
    return ImageDescription(normalization, *names) if found else None


def record_thresholds(model: keras.Model, score_thresholds: ArrayLike) -> None:
    """Record in a trained model the minimum score at which each of its classes counts as present.

    They are saved with the model, `describe(model)` finds them, and `kd.export.to_tflite` writes
    them into its files unless others are given.

    Args:
        model: A Keras model that records the names of its classes, as those of `kd.models` with
            `classes=[...]` do.
        score_thresholds: For each class, a number from 0 to 1, e.g. from
            `kd.training.choose_thresholds`.

    Raises:
        ValueError: If the model does not record the names of its classes, or the thresholds are not
            one number from 0 to 1 for each.

    Example:
        >>> import keras
        >>> inputs = keras.Input((8, 8, 1))
        >>> outputs = keras.layers.Flatten()(ImageDescription(class_names=["a", "b"])(inputs))
        >>> model = keras.Model(inputs, outputs)
        >>> record_thresholds(model, [0.25, 0.5])
        >>> describe(model).score_thresholds
        (0.25, 0.5)
    """
    named = _find_named([layer for layer, _ in _find_descriptions(model)])
    if named is None:
        raise ValueError(
            "model must record the names of its classes, to which thresholds belong. Received: "
            f"{model.name!r}, which does not. Build it with a kd.layers.ImageDescription("
            "class_names=[...]) after its input"
        )
    named.score_thresholds = score_thresholds


def _find_descriptions(model: keras.layers.Layer) -> list[tuple[ImageDescription, bool]]:
    """Return all descriptions in a model, each with whether pixels are rescaled before it."""
    found, is_behind = [], False
    for layer in _walk(model):
        if _is_rescaling(layer):
            is_behind = True
        elif isinstance(layer, ImageDescription):
            found.append((layer, is_behind))
    return found


def _find_named(found: Sequence[ImageDescription]) -> ImageDescription | None:
    """Return the first description with names of classes."""
    return next((layer for layer in found if layer.class_names), None)


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


def _check_thresholds(
    values: ArrayLike | None, class_names: Sequence[str] | None
) -> tuple[float, ...] | None:
    """Return one threshold from 0 to 1 for each class, or raise ValueError."""
    if values is None:
        return None
    if class_names is None:
        raise ValueError("score_thresholds must only be given with class_names, one for each name")
    try:
        thresholds = np.asarray(values, "float64")
    except (TypeError, ValueError):  # not numbers, or rows of different lengths
        thresholds = np.array(np.nan)
    if thresholds.shape != (len(class_names),) or not np.all((thresholds >= 0) & (thresholds <= 1)):
        raise ValueError(
            f"score_thresholds must be {len(class_names)} numbers from 0 to 1, one for each class. "
            f"Received: {values!r}"
        )
    return tuple(thresholds.tolist())


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
