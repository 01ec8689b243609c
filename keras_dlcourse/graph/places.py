"""Find the layer to look at: the one asked for, or the last with a map worth looking at."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection

from keras_dlcourse.graph.running import Network, Place


def find_place(
    network: Network,
    layer: str | None,
    image_input: int = 0,
    besides: Collection[Place] = (),
) -> Place:
    """Return the call of a layer whose feature maps are looked at.

    Args:
        network: The model.
        layer: Its name, with the names of the nested models around it or without:
            `"backbone/conv5"`, `"conv5"`, or `"backbone"` for what comes out of that. Of a layer
            that is called more than once the last call counts that sees the image. None finds the
            coarsest feature maps and, of several with that size, the last one that is no branch.
        image_input: Number of the model's input that is the image.
        besides: Places that None does not find, such as those that make the scores.

    Raises:
        ValueError: If there is no such layer, or its outputs are no feature maps.
    """
    sources = network.sources()
    seen = [place for place in network.places if image_input in sources[place]]
    if layer is None:
        return _coarsest(network, seen, image_input, besides)
    if not isinstance(layer, str):
        raise TypeError(f"layer must be the name of a layer. Received: {type(layer).__name__}")
    named = [place for place in seen if layer in (place.name, place.node.name)]
    if not named:
        raise ValueError(_unknown(network, layer, seen))
    if not is_map(named[-1]):
        raise ValueError(
            f"layer {layer!r} gives {named[-1].shape[1:]}; feature maps have the shape (height, "
            "width, channels), more than one place. Choose a layer before the pooling"
        )
    return named[-1]


def named_place(network: Network, layer: str) -> Place:
    """Return the last call of a layer, whatever comes out of it.

    Args:
        network: The model.
        layer: Its name, with the names of the nested models around it or without.

    Raises:
        TypeError: If `layer` is no text.
        ValueError: If there is no such layer; the message names those with similar names.
    """
    if not isinstance(layer, str):
        raise TypeError(f"layer must be the name of a layer. Received: {type(layer).__name__}")
    named = [place for place in network.places if layer in (place.name, place.node.name)]
    if named:
        return named[-1]
    names = list(dict.fromkeys(place.name for place in network.places))
    short = [name.rpartition("/")[2] for name in names]
    close = difflib.get_close_matches(layer, [*names, *short], 3) or names[-8:]
    raise ValueError(
        f"model {network.model.name!r} has no layer {layer!r}. "
        f"Did you mean {' or '.join(repr(name) for name in dict.fromkeys(close))}?"
    )


def is_map(place: Place) -> bool:
    """Whether what comes out has rows, columns and channels, and more than one place."""
    shape = place.shape
    return len(place.node.outputs) == 1 and len(shape) == 4 and places_in(shape) > 1


def places_in(shape: tuple[int | None, ...]) -> float:
    """Return the number of places of feature maps; infinity where a size is open."""
    return math.prod(math.inf if size is None else size for size in shape[1:3])


def _coarsest(
    network: Network, seen: list[Place], image_input: int, besides: Collection[Place]
) -> Place:
    maps = [place for place in seen if is_map(place) and place not in besides]
    # A nested model's output is that of its last layer, which stands before it.
    maps = [place for place in maps if not any(place.path == p.path[:-1] for p in maps)] or maps
    if not maps:
        raise ValueError(
            f"model {network.model.name!r} has no layer with feature maps (height, width, "
            "channels) on the way from the image to the scores, so there is nothing to draw; "
            "saliency, integrated_gradients and occlusion need none, also of vectors, series and "
            "volumes"
        )
    least = min(places_in(place.shape) for place in maps)
    coarsest = [place for place in maps if places_in(place.shape) == least]
    # One that all goes through, rather than a branch.
    joints = (place for place in reversed(coarsest) if is_joint(network, place, image_input))
    return next(joints, coarsest[-1])


def is_joint(network: Network, place: Place, image_input: int) -> bool:
    """Whether nothing of the image gets to an output but through a place."""
    outputs = network.reach(without=place)
    return all(image_input not in sources for sources in outputs)


def _unknown(network: Network, layer: str, seen: list[Place]) -> str:
    names = list(dict.fromkeys(place.name for place in seen))
    short = {name.rpartition("/")[2]: name for name in names}
    close = difflib.get_close_matches(layer, [*names, *short], 3)
    if close:
        advice = f"Did you mean {' or '.join(repr(name) for name in close)}?"
    else:
        maps = [place.name for place in seen if is_map(place)]
        advice = f"Layers with feature maps are: {', '.join(maps[-8:])}"
    return f"model {network.model.name!r} has no layer {layer!r} that sees the image. {advice}"
