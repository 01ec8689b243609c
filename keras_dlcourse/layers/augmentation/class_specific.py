"""Augmentation of some classes more than others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops, tree

from keras_dlcourse._checks import check_number
from keras_dlcourse.layers.augmentation.random_affine import IMAGES


@keras.saving.register_keras_serializable(package="keras_dlcourse")
class ClassSpecific(keras.layers.Layer):
    """Apply augmentation layers to a fraction of the examples that depends on their class.

    A rare class, whose few images are repeated often, is then seen in more variations than a
    frequent class. Outside training nothing changes.

    **Beware of hidden traces.** If only one class is augmented, the traces that augmentation leaves
    in an image (black corners, blur from interpolation, noise) reveal the class, and a network
    learns the trace instead of the object. Augment a fraction of the other classes too
    (`otherwise`), and check with `kd.training.hidden_trace` whether augmented images can be
    recognized.

    Args:
        layers: One layer or several, applied in order. They are called with the images alone if
            there is nothing else to transform, otherwise with the dictionary.
        rates: The fraction of examples to augment, 0 to 1, by class number.
        otherwise: The fraction of examples to augment in all other classes.
        label: The dictionary entry that contains the classes.
        seed: Random seed for choosing the examples; the layers have their own seeds.
        **kwargs: `name`, `dtype` and `trainable`, as for every Keras layer.

    Call arguments:
        inputs: A dictionary with images `(batch, height, width, channels)` as `"images"`, class
            numbers `(batch,)` or `(batch, 1)` or one-hot classes `(batch, classes)`, and any other
            entries that the layers transform.
        training: Whether to augment.

    Returns:
        The dictionary; the entry `label` is unchanged.

    Raises:
        TypeError: If `layers` are not Keras layers.
        ValueError: If there are no layers, a rate is out of range, a key is not a class number, or
            an entry is missing.

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
        self.augmentations = _check_layers(layers)
        self.rates = {
            _class_number(number): _check_rate(f"the rate of class {number}", rate)
            for number, rate in rates.items()
        }
        self.otherwise = _check_rate("otherwise", otherwise)
        self.label = str(label)
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape: Any) -> None:
        """Do nothing: the layers build themselves on the images or the dictionary they receive."""

    def call(self, inputs: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """Return the entries; in training, those of the chosen examples are augmented."""
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
        moved = self._augment(given)

        def choose(new: Any, old: Any) -> Any:
            shape = (-1, *[1] * (len(old.shape) - 1))
            return ops.where(ops.reshape(is_chosen, shape), ops.cast(new, old.dtype), old)

        kept = {name: part for name, part in moved.items() if name in given and name != self.label}
        return given | {
            name: tree.map_structure(choose, part, given[name]) for name, part in kept.items()
        }

    def _augment(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return all examples, augmented."""
        if set(given) == {IMAGES, self.label}:
            images = given[IMAGES]
            for layer in self.augmentations:
                images = layer(images, training=True)
            return {IMAGES: images}
        for layer in self.augmentations:
            # Keras's own layers modify the dictionary they are passed.
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
        """Return the arguments that re-create this layer."""
        return {
            **super().get_config(),
            "layers": [keras.saving.serialize_keras_object(one) for one in self.augmentations],
            "rates": {str(number): rate for number, rate in self.rates.items()},  # JSON keys
            "otherwise": self.otherwise,
            "label": self.label,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ClassSpecific:
        """Return the layer that `get_config` describes."""
        layers = [keras.saving.deserialize_keras_object(one) for one in config["layers"]]
        return cls(**{**config, "layers": layers})


def _check_layers(layers: Any) -> list[keras.layers.Layer]:
    found = list(layers) if isinstance(layers, list | tuple) else [layers]
    if not found:
        raise ValueError("layers must be one or more Keras layers. Received: none")
    for layer in found:
        if not isinstance(layer, keras.layers.Layer):
            raise TypeError(f"layers must be Keras layers. Received: {layer!r}")
    return found


def _class_number(number: Any) -> int:
    try:
        return int(str(number))
    except ValueError:
        raise ValueError(f"rates must have class numbers as keys. Received: {number!r}") from None


def _check_rate(name: str, rate: Any) -> float:
    return check_number(name, rate, least=0, most=1)
