"""Augmentation of some classes more than of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops, tree

from keras_dlcourse._checks import is_real
from keras_dlcourse.layers.augmentation.random_affine import IMAGES


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class ClassSpecific(keras.layers.Layer):
    """Apply augmentation layers to a share of the examples that depends on their class.

    So a rare class, of which the same few images come again and again, is seen in more forms than
    a frequent one. Outside of training nothing changes.

    **Beware of hidden traces.** What augmentation leaves in an image (black corners, blur from
    interpolation, noise) tells its class if only that class is augmented, and a network learns the
    trace in place of the thing. Give other classes a share too (`otherwise`), and ask
    `kd.training.hidden_trace` whether augmented images can be told.

    Args:
        layers: A layer or several, applied one after the other. They are called with the images
            alone where there is nothing else to move, else with the dictionary.
        rates: For each class number that matters, the share of its examples to augment, 0 to 1.
        otherwise: The share of the examples of all other classes.
        label: The entry that holds the classes.
        seed: Seed of the choice of examples; the layers have seeds of their own.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: A dictionary with images `(batch, height, width, channels)` as `"images"`, class
            numbers `(batch,)` or `(batch, 1)` or one-hot classes `(batch, classes)`, and what else
            the layers move.
        training: Whether to augment.

    Returns:
        The dictionary; the entry `label` is as it came.

    Raises:
        TypeError: If `layers` are no Keras layers.
        ValueError: If there are none, a rate is out of range, a key is no class number, or an entry
            is missing.

    Example:
        >>> import numpy as np
        >>> layer = ClassSpecific(keras.layers.RandomBrightness((0.5, 0.5), (0, 1)), {1: 1.0})
        >>> inputs = {"images": np.zeros((4, 2, 2, 1)), "labels": np.array([0, 1, 0, 1])}
        >>> ops.convert_to_numpy(layer(inputs, training=True)["images"])[:, 0, 0, 0].tolist()
        [0.0, 0.5, 0.0, 0.5]
    """

    def __init__(
        self,
        layers: keras.layers.Layer | Sequence[keras.layers.Layer],
        rates: Mapping[int, float],
        otherwise: float = 0.0,
        *,
        label: str = "labels",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)  # half precision is too coarse for coordinates
        self.augmentations = _checked_layers(layers)
        self.rates = {
            _class_number(number): _checked_rate(f"the rate of class {number}", rate)
            for number, rate in rates.items()
        }
        self.otherwise = _checked_rate("otherwise", otherwise)
        self.label = str(label)
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape: Any) -> None:
        """Leave the layers to build themselves: they are called with the images alone or not."""

    def call(self, inputs: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """Return the entries; those of chosen examples are augmented if this is training."""
        missing = [name for name in (IMAGES, self.label) if name not in inputs]
        if missing:
            raise ValueError(
                f"inputs lack {', '.join(map(repr, missing))}. Received: "
                f"{', '.join(map(repr, inputs))}"
            )
        given = tree.map_structure(ops.convert_to_tensor, dict(inputs))
        given[IMAGES] = ops.cast(given[IMAGES], self.compute_dtype)
        if not training:
            return given
        is_chosen = self._draw(given[self.label])
        moved = self._augmented(given)

        def chosen(new: Any, old: Any) -> Any:
            shape = (-1, *[1] * (len(old.shape) - 1))
            return ops.where(ops.reshape(is_chosen, shape), ops.cast(new, old.dtype), old)

        kept = {name: part for name, part in moved.items() if name in given and name != self.label}
        return given | {
            name: tree.map_structure(chosen, part, given[name]) for name, part in kept.items()
        }

    def _augmented(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return all examples, augmented."""
        if set(given) == {IMAGES, self.label}:
            images = given[IMAGES]
            for layer in self.augmentations:
                images = layer(images, training=True)
            return {IMAGES: images}
        for layer in self.augmentations:
            # Keras's own layers write into the dictionary that they get.
            given = dict(layer(tree.map_structure(lambda part: part, given), training=True))
        return given

    def _draw(self, labels: Any) -> Any:
        """Return which examples to augment, `(batch,)`."""
        is_one_hot = len(labels.shape) == 2 and labels.shape[1] > 1
        number = ops.argmax(labels, axis=1) if is_one_hot else ops.reshape(labels, (-1,))
        rate = ops.full(ops.shape(number), self.otherwise, "float32")
        for one, share in self.rates.items():
            rate = ops.where(ops.equal(number, ops.cast(one, number.dtype)), share, rate)
        return keras.random.uniform(ops.shape(number), seed=self.generator) < rate

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return `input_shape`."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this layer again."""
        return {
            **super().get_config(),
            "layers": [keras.saving.serialize_keras_object(one) for one in self.augmentations],
            "rates": {str(number): rate for number, rate in self.rates.items()},  # as JSON has it
            "otherwise": self.otherwise,
            "label": self.label,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ClassSpecific:
        """Return the layer that `get_config` describes."""
        layers = [keras.saving.deserialize_keras_object(one) for one in config["layers"]]
        return cls(**{**config, "layers": layers})


def _checked_layers(layers: Any) -> list[keras.layers.Layer]:
    found = list(layers) if isinstance(layers, list | tuple) else [layers]
    if not found:
        raise ValueError("layers must be one layer or more. Received: none")
    for layer in found:
        if not isinstance(layer, keras.layers.Layer):
            raise TypeError(f"layers must be Keras layers. Received: {layer!r}")
    return found


def _class_number(number: Any) -> int:
    try:
        return int(str(number))
    except ValueError:
        raise ValueError(f"rates must have class numbers for keys. Received: {number!r}") from None


def _checked_rate(name: str, rate: Any) -> float:
    if not is_real(rate) or not 0 <= rate <= 1:
        raise ValueError(f"{name} must be a share from 0 to 1. Received: {rate!r}")
    return float(rate)
