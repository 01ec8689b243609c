"""Find the layer to explain: the requested one, or the last one with suitable feature maps."""

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
    """Return the call of a layer whose feature maps are explained.

    Args:
        network: The model.
        layer: Name of the layer, with or without the names of the nested models around it:
            `"backbone/conv5"`, `"conv5"`, or `"backbone"` for the output of the backbone. If a
            layer is called more than once, its last call that sees the image is used. None selects
            the coarsest feature maps; if several have that size, the last one not on a branch.
        image_input: Index of the image among the model's inputs.
        besides: Places to exclude if `layer` is None, such as those that compute the scores.

    Raises:
        TypeError: If `layer` is not a string.
        ValueError: If the layer does not exist, or its outputs are not feature maps.
    """
    sources = network.sources()
    seen = [place for place in network.places if image_input in sources[place]]
    if layer is None:
        return _find_coarsest(network, seen, image_input, besides)
    if not isinstance(layer, str):
        raise TypeError(f"layer must be the name of a layer. Received: {type(layer).__name__}")
    named = [place for place in seen if layer in (place.name, place.node.name)]
    if not named:
        raise ValueError(_describe_unknown(network, layer, seen))
    if not is_map(named[-1]):
        raise ValueError(
            f"layer {layer!r} must output feature maps (height, width, channels) with more than "
            f"one position. Received: shape {named[-1].shape[1:]}. Choose a layer before the "
            "pooling."
        )
    return named[-1]


def find_named_place(network: Network, layer: str) -> Place:
    """Return the last call of a layer, whatever its output is.

    Args:
        network: The model.
        layer: Name of the layer, with or without the names of the nested models around it.

    Raises:
        TypeError: If `layer` is not a string.
        ValueError: If the layer does not exist; the message suggests similar names.
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
    """Whether the output has rows, columns and channels, and more than one position."""
    shape = place.shape
    return len(place.node.outputs) == 1 and len(shape) == 4 and count_positions(shape) > 1


def count_positions(shape: tuple[int | None, ...]) -> float:
    """Return the number of positions in feature maps; infinity if a size is open."""
    return math.prod(math.inf if size is None else size for size in shape[1:3])


def _find_coarsest(
    network: Network, seen: list[Place], image_input: int, besides: Collection[Place]
) -> Place:
    maps = [place for place in seen if is_map(place) and place not in besides]
    # A nested model has the same output as its last layer, which precedes it.
    maps = [place for place in maps if not any(place.path == p.path[:-1] for p in maps)] or maps
    if not maps:
        raise ValueError(
            f"model {network.model.name!r} has no layer with feature maps (height, width, "
            "channels) between the image and the scores, so there is nothing to draw. Use "
            "saliency, integrated_gradients or occlusion, which need none and also support "
            "vectors, series and volumes."
        )
    least = min(count_positions(place.shape) for place in maps)
    coarsest = [place for place in maps if count_positions(place.shape) == least]
    # Prefer one that no path bypasses to a branch.
    joints = (place for place in reversed(coarsest) if is_joint(network, place, image_input))
    return next(joints, coarsest[-1])


def is_joint(network: Network, place: Place, image_input: int) -> bool:
    """Whether all paths from the image to the outputs go through a place."""
    outputs = network.reach(without=place)
    return all(image_input not in sources for sources in outputs)


def _describe_unknown(network: Network, layer: str, seen: list[Place]) -> str:
    names = list(dict.fromkeys(place.name for place in seen))
    short = {name.rpartition("/")[2]: name for name in names}
    close = difflib.get_close_matches(layer, [*names, *short], 3)
    if close:
        advice = f"Did you mean {' or '.join(repr(name) for name in close)}?"
    else:
        maps = [place.name for place in seen if is_map(place)]
        advice = f"Layers with feature maps are: {', '.join(maps[-8:])}"
    return f"model {network.model.name!r} has no layer {layer!r} that sees the image. {advice}"
