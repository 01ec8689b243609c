"""The receptive field of a layer, asked for by its name."""

from __future__ import annotations

from typing import Any

import keras

from keras_dlcourse.explain.engine.places import find_place
from keras_dlcourse.graph import Network, Place
from keras_dlcourse.graph.receptive_field import ReceptiveField, fields


def receptive_field(
    model: keras.Model,
    layer: str | None = None,
    *,
    image_size: tuple[int, int] | None = None,
    image_input: int = 0,
) -> ReceptiveField:
    """Return which pixels of the image the positions of a layer see.

    Known are convolutions (plain, depthwise, separable, transposed), pooling, padding, cropping,
    up-sampling, all that works on each position alone, sums and concatenations (the union), nested
    models and this package's blocks. A layer that mixes all positions, such as global pooling,
    Flatten or attention, sees the whole image; so, to be on the safe side, does a layer that is not
    known, and `whole` names it.

    Args:
        model: A functional or Sequential model.
        layer: Its name, with the names of the nested models around it or without. None takes the
            feature maps that `grad_cam` takes: the coarsest and, of several with that size, the
            last.
        image_size: Height and width of the image, for a model that takes any size: the padding
            `"same"` depends on it.
        image_input: Number of the input that is the image; models with one have no other.

    Returns:
        A `ReceptiveField`: size, stride and start, and `region(row, column)`.

    Raises:
        TypeError: If `model` is no Keras model or `layer` no name.
        ValueError: If there is no such layer, or the size of the image is not known.

    Example:
        >>> model = keras.applications.MobileNet((96, 96, 3), alpha=0.25, weights=None)
        >>> field = receptive_field(model, "conv_pw_11_relu")
        >>> field.size, field.stride, field.start
        ((219, 219), (16, 16), (-94, -94))
        >>> field.region(0, 3)
        (0, 0, 96, 96)

    Reference:
        Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks",
        Distill, 2019, https://doi.org/10.23915/distill.00021
    """
    network = Network(model)
    place = place_of(network, layer, image_input)
    return fields(network, _image_size(network, image_size, image_input), image_input)[place]


def place_of(network: Network, layer: str | None, image_input: int = 0) -> Place:
    """Return the last call of a layer that sees the image, be it one without positions.

    Args:
        network: The model.
        layer: Its name, see `receptive_field`.
        image_input: Number of the model's input that is the image.

    Raises:
        TypeError: If the name is no text.
        ValueError: If there is no such layer; the closest names are suggested.
    """
    count = len(network.model.inputs)
    if isinstance(image_input, bool) or image_input not in range(count):
        raise ValueError(f"image_input must be below {count}. Received: {image_input!r}")
    sources = network.sources()
    named = [
        place
        for place in network.places
        if layer in (place.name, place.node.name) and image_input in sources[place]
    ]
    return named[-1] if named else find_place(network, layer, image_input)


def _image_size(
    network: Network, image_size: tuple[int, int] | None, image_input: int
) -> tuple[int, int]:
    shape: tuple[Any, ...] = tuple(network.model.inputs[image_input].shape)
    if len(shape) != 4:
        raise ValueError(
            f"input {image_input} of model {network.model.name!r} has the shape {shape[1:]}, which "
            "is no image (height, width, channels); choose another with image_input="
        )
    first = keras.config.image_data_format() == "channels_first"
    fixed = shape[2:4] if first else shape[1:3]
    if image_size is None:
        if None in fixed:
            raise ValueError(
                f"model {network.model.name!r} takes images of any size; say which one with "
                "image_size=(height, width)"
            )
        return int(fixed[0]), int(fixed[1])
    sizes = tuple(image_size)
    if len(sizes) != 2 or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise ValueError(
            f"image_size must be (height, width), two whole numbers above 0. Got {image_size!r}"
        )
    if any(known not in (None, size) for known, size in zip(fixed, sizes, strict=True)):
        raise ValueError(f"image_size must be {fixed} for this model. Received: {image_size!r}")
    return sizes
