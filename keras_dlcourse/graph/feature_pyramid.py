"""The last feature maps of each scale of a backbone, on which segmentation and detection build."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import tree

from keras_dlcourse._checks import check_integer
from keras_dlcourse.graph.places import find_place, is_map
from keras_dlcourse.graph.running import Network, Place, call_as_built, call_in_inference
from keras_dlcourse.graph.seeing import is_channels_first

STRIDES = (4, 8, 16, 32)
_OPEN_SIZE = 256  # pixels; where a model takes images of any size, one that all strides divide
_PADDING = (keras.layers.ZeroPadding2D, keras.layers.Cropping2D)


def feature_pyramid(
    model: keras.Model, strides: Sequence[int] = STRIDES, *, image_input: int = 0
) -> keras.Model:
    """Return a model of the last feature maps at each stride of a backbone.

    Only maps that everything after them depends on are taken, not those of a single branch of a
    block. So for a ResNet they are the outputs of its stages, and for a network of inverted
    residuals written layer by layer (as in `keras.applications`) the expanded maps before each
    strided convolution. Padding layers are skipped. Layers and weights are shared with `model`.

    Args:
        model: A functional or Sequential model of images, such as those of `kd.models` and
            `keras.applications`, with or without its classifier.
        strides: The wanted ratios of the size of the image to that of the maps, powers of 2. A size
            that the stride does not divide is rounded to the nearest power of 2.
        image_input: The index of the input that is the image, for models with several inputs.

    Returns:
        A functional model with the inputs of `model` and a dictionary of outputs: `"P2"` with
        stride 4, `"P3"` with stride 8, and so on, of shape `(batch, rows, columns, channels)`.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If `strides` are not distinct powers of 2, or the model has no feature maps with
            one of them.

    Example:
        >>> backbone = keras.applications.MobileNet((64, 64, 3), alpha=0.25, weights=None)
        >>> outputs = feature_pyramid(backbone).output
        >>> {name: tuple(maps.shape[1:]) for name, maps in outputs.items()}
        {'P2': (16, 16, 32), 'P3': (8, 8, 64), 'P4': (4, 4, 128), 'P5': (2, 2, 256)}

    Reference:
        Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017,
        https://arxiv.org/abs/1612.03144
    """
    return pyramid_of(model, strides, image_input, choose_last)


def pyramid_of(
    model: keras.Model,
    strides: Sequence[int],
    image_input: int,
    choose: Callable[[list[Place]], Place],
) -> keras.Model:
    """Return the pyramid of the maps that `choose` takes of all places with the same stride."""
    levels = [_level(stride) for stride in strides]
    if not levels or len(set(levels)) < len(levels):
        raise ValueError(f"strides must be distinct powers of 2. Received: {tuple(strides)}")
    network = Network(model)
    found = _find_levels(network, image_input)
    missing = [2**level for level in levels if level not in found]
    if missing:
        known = ", ".join(str(2**level) for level in sorted(found))
        raise ValueError(
            f"model {model.name!r} has no feature maps with a stride of "
            f"{', '.join(map(str, missing))}; it has {known}. "
            "Choose strides= among these, or build the model for larger images"
        )
    wanted = {choose(found[level]): f"P{level}" for level in levels}
    inputs = [keras.Input(batch_shape=x.shape, dtype=x.dtype) for x in network.model.inputs]
    outputs: dict[str, Any] = {}

    def keep(place: Place, made: Any) -> Any:
        if place in wanted:
            outputs[wanted[place]] = tree.flatten(made)[0]
        return made

    # One flat graph, in which what several scales share is computed once, in nested models too.
    network.run(inputs, call_as_built, keep)
    structure = tree.pack_sequence_as(network.model.input, inputs)
    ordered = {f"P{level}": outputs[f"P{level}"] for level in levels}
    return keras.Model(structure, ordered, name=f"{model.name}_pyramid")


def known_strides(model: keras.Model, image_input: int = 0) -> tuple[int, ...]:
    """Return the strides for which `feature_pyramid` finds feature maps, in ascending order.

    The image itself is none, also after layers that normalize or describe it.
    """
    network = Network(model)
    levels = _find_levels(network, image_input)
    channels = network.model.inputs[image_input].shape[-1]
    if 0 in levels and levels[0][-1].shape[-1] == channels:
        del levels[0]
    return tuple(2**level for level in sorted(levels) if level >= 0)


def _find_levels(network: Network, image_input: int) -> dict[int, list[Place]]:
    """Return the places of the feature maps of each scale, by the logarithm of its stride."""
    found: dict[int, list[Place]] = {}
    coarsest = find_place(network, None, image_input)
    through = _places_before(network, coarsest)
    sizes = _sizes(network, image_input)
    for place in network.places:
        if place in through and is_map(place) and not isinstance(place.node.operation, _PADDING):
            level = _level_of(sizes[place], sizes[None])
            if level is not None:
                found.setdefault(level, []).append(place)
    return found


def choose_last(places: list[Place]) -> Place:
    """Return the last of the places with the same stride."""
    return places[-1]


def _level(stride: Any) -> int:
    """Return the logarithm of a stride."""
    stride = check_integer("strides", stride)
    if stride & (stride - 1):
        raise ValueError(f"strides must be powers of 2. Received: {stride}")
    return stride.bit_length() - 1


def _places_before(network: Network, place: Place) -> frozenset[Place]:
    """Return the places that every path from the inputs to a place passes, and the place itself."""
    dominators: dict[Place, frozenset[Place]] = {}

    def call(here: Place, args: Any, kwargs: Any) -> Any:
        given = [v for v in tree.flatten((args, kwargs)) if isinstance(v, frozenset)]
        return [frozenset.intersection(*given) if given else frozenset()] * len(here.node.outputs)

    def after(here: Place, outputs: Any) -> Any:
        passed = [found | {here} for found in tree.flatten(outputs)]
        dominators[here] = passed[0]
        return passed

    network.run([frozenset()] * len(network.model.inputs), call, after)
    return dominators[place]


def _sizes(network: Network, image_input: int) -> dict[Place | None, tuple[int, int]]:
    """Return rows and columns of what comes out at each place; of the image, for None."""
    inputs = list(network.model.inputs)
    image = inputs[image_input]
    sizes: dict[Place | None, tuple[int, int]] = {}
    if None in _rows_and_columns(image):
        shape = list(image.shape)
        first = 2 if is_channels_first() else 1
        shape[first : first + 2] = [_OPEN_SIZE, _OPEN_SIZE]
        image = inputs[image_input] = keras.Input(batch_shape=shape)

        def after(place: Place, outputs: Any) -> Any:
            sizes[place] = _rows_and_columns(tree.flatten(outputs)[0])
            return outputs

        network.run(inputs, call_in_inference, after)
    else:
        sizes |= {place: _rows_and_columns(place.node.outputs[0]) for place in network.places}
    return sizes | {None: _rows_and_columns(image)}


def _rows_and_columns(tensor: Any) -> tuple[Any, Any]:
    if len(tensor.shape) != 4:
        return 0, 0
    return tuple(tensor.shape[2:4] if is_channels_first() else tensor.shape[1:3])


def _level_of(maps: tuple[int, int], image: tuple[int, int]) -> int | None:
    """Return the logarithm of the stride, None if it differs between rows and columns."""
    rows, columns = (
        round(math.log2(pixels / max(size, 1))) for pixels, size in zip(image, maps, strict=True)
    )
    return rows if rows == columns else None
