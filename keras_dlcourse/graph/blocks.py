"""Find where the blocks of a network begin, so that only the last few can be trained."""

from __future__ import annotations

import re
from collections.abc import Iterator

import keras

from keras_dlcourse.graph.running import Network, Place
from keras_dlcourse.layers.blocks._composite import CompositeLayer

NORMS = (keras.layers.BatchNormalization,)

# Layer names of blocks in `keras.applications` and our builders: "block_16_expand",
# "conv5_block3_1_conv", "block7a_project_conv", "expanded_conv_3_depthwise".
_NAME = re.compile(r"^(.*?(?:block|expanded_conv)_?\d+[a-z]?)(?:[_/]|$)")


def find_block_starts(network: Network) -> list[Place]:
    """Find the first call of each block, in the order of the network.

    A block is one of our composite layers, a group of layers that share a block's name, or else a
    region with branches between two places that no path bypasses. A plain chain of individually
    named layers has no blocks.

    Args:
        network: A network with one input.

    Returns:
        Places in order. Layers after the last block belong to it, so the last n blocks are
        everything from the n-th last place on.

    Example:
        >>> from keras import layers
        >>> inputs = keras.Input((8, 8, 4))
        >>> x = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
        >>> y = layers.Conv2D(4, 3, padding="same", name="inside")(x)
        >>> x = layers.Add()([x, y])
        >>> [place.name for place in find_block_starts(Network(keras.Model(inputs, x)))]
        ['inside']
    """
    found: dict[object, Place] = {}
    weighty: set[object] = set()
    for place, region in _regions(network):
        layer = place.node.operation
        named = _NAME.match(layer.name)
        if named:
            block: object = (place.path[:-1], named.group(1))
        elif isinstance(layer, CompositeLayer):
            block = place
        elif region is not None:
            block = region
        else:
            continue
        found.setdefault(block, place)
        if getattr(layer, "weights", None):
            weighty.add(block)
    return [place for block, place in found.items() if block in weighty]


def find_weighted_places(network: Network) -> list[Place]:
    """Return the calls of layers with weights, except normalizations, in order."""
    return [
        place
        for place in _leaves(network)
        if getattr(place.node.operation, "weights", None)
        and not isinstance(place.node.operation, NORMS)
    ]


def layers_from(network: Network, start: Place) -> list[keras.layers.Layer]:
    """Return the layers with weights, except normalizations, from a place on, each once."""
    order = [place for place in network.places if place == start or not _is_model(place)]
    behind = set(order[order.index(start) :])
    layers = [place.node.operation for place in find_weighted_places(network) if place in behind]
    return list({id(layer): layer for layer in layers}.values())


def _is_model(place: Place) -> bool:
    return isinstance(place.node.operation, keras.Model)


def _leaves(network: Network) -> Iterator[Place]:
    return (place for place in network.places if not _is_model(place))


def _regions(network: Network) -> Iterator[tuple[Place, int | None]]:
    """Yield each place with the index of its region with branches, or None in a plain chain."""
    places = list(_leaves(network))
    number = {place: index for index, place in enumerate(places)}
    last_use = list(range(len(places)))
    begin = needed = 0
    for index, place in enumerate(places):
        for which in range(len(place.node.inputs)):
            source = network.source(place, which)
            if source is None:  # the image itself
                needed = index
            else:
                last_use[number[source]] = index
    for index in range(len(places)):
        # No path bypasses this place if nothing before it is used after it.
        if needed <= index:
            inside = index > begin
            for inner in range(begin, index + 1):
                yield places[inner], begin if inside else None
            begin = index + 1
        needed = max(needed, last_use[index])
