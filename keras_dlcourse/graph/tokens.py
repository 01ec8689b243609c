"""Feature maps of vision transformers: tokens, and the grid of patches that they stand for.

Reference: Dosovitskiy et al. (2021), An Image is Worth 16x16 Words, https://arxiv.org/abs/2010.11929
"""

from __future__ import annotations

import math
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dlcourse.graph.places import find_place, is_joint, is_map, places_in
from keras_dlcourse.graph.running import Network, Place, call_in_inference

Grid = tuple[int, int]

_ATTENTION = (
    keras.layers.MultiHeadAttention,
    keras.layers.GroupQueryAttention,
    keras.layers.Attention,
    keras.layers.AdditiveAttention,
)
# Operations, which are no layers, by which tokens see each other.
_MIXING = ("Matmul", "Einsum", "DotProductAttention")


def find_features(
    network: Network,
    layer: str | None,
    image_input: int = 0,
    besides: Collection[Place] = (),
    reshape: Any = None,
) -> tuple[Place, Grid | None]:
    """Return the call of a layer whose feature maps are looked at, and the grid of its tokens.

    A vision transformer has a map of its patches, or none, and then tokens, `(n, tokens, numbers)`:
    with None the last tokens that all goes through are taken. Where a class token stands before
    them, they are the last ones that it still looks at.

    Args:
        network: The model.
        layer: As for `find_place`; also one that gives tokens.
        image_input: As for `find_place`.
        besides: As for `find_place`.
        reshape: Rows and columns of the patches that the tokens stand for; None finds them where
            they are those of a map before, or a square in a square image. Further tokens stand
            before them.

    Returns:
        The place, and rows and columns of its tokens; None where it gives maps.

    Raises:
        ValueError: As `find_place`, or if the tokens' grid is not clear.
    """
    grid = _checked(reshape)
    sources = network.sources()
    seen = [place for place in network.places if image_input in sources[place]]
    tokens: list[Place] = []
    if len(network.model.inputs[image_input].shape) == 4:
        if layer is not None:
            named = [place for place in seen if layer in (place.name, place.node.name)]
            tokens = [place for place in named[-1:] if _is_tokens(place)]
        else:
            tokens = _of_patches(network, seen, image_input, besides, grid)
    if not tokens:
        place = find_place(network, layer, image_input, besides)
        if grid is not None:
            raise ValueError(
                f"reshape is for layers that give tokens (n, tokens, numbers); layer "
                f"{place.name!r} gives maps of shape {place.shape[1:]}: omit it"
            )
        return place, None
    found = _grid(network, seen, tokens[-1], image_input, grid)
    return tokens[-1] if layer is not None else _looked_at(tokens, seen, found), found


def _of_patches(
    network: Network,
    seen: list[Place],
    image_input: int,
    besides: Collection[Place],
    grid: Grid | None,
) -> list[Place]:
    """Return the tokens that all goes through, where they are to be looked at instead of maps."""
    tokens = [place for place in seen if _is_tokens(place) and place not in besides]
    if not tokens:
        return []
    coarsest = None
    if grid is None:
        with suppress(ValueError):  # there are no maps at all
            coarsest = find_place(network, None, image_input, besides)
    if coarsest is not None:
        at = seen.index(coarsest)
        tokens = [place for place in tokens if seen.index(place) > at]
        same = [place for place in tokens if _extra(place, _sides(coarsest)) in (0, 1)]
        # Tokens behind a deep network may be columns of text: then its maps are looked at.
        tokens = same or (tokens if _is_shallow(seen[: at + 1]) else [])
    return [place for place in tokens if is_joint(network, place, image_input)]


def _checked(reshape: Any) -> Grid | None:
    """Return rows and columns as given."""
    if reshape is None:
        return None
    pair = tuple(reshape) if isinstance(reshape, list | tuple) else ()
    if len(pair) != 2 or not all(type(side) is int and side > 0 for side in pair):
        raise ValueError(
            "reshape must be the rows and columns of the patches, such as (14, 14). "
            f"Received: {reshape!r}"
        )
    return pair[0], pair[1]


def _is_tokens(place: Place) -> bool:
    """Whether what comes out is several vectors of numbers for each image."""
    shape = place.shape
    return len(place.node.outputs) == 1 and len(shape) == 3 and (shape[1] or 0) > 1


def _extra(place: Place, grid: tuple[int | None, int | None]) -> int:
    """Return how many tokens there are besides those of a grid; below 0 if too few."""
    rows, columns = grid
    return int(place.shape[1] or 0) - (rows or 0) * (columns or 0)


def _sides(place: Place) -> tuple[int | None, int | None]:
    """Return height and width of feature maps."""
    first = getattr(place.node.operation, "data_format", None) == "channels_first"
    height, width = place.shape[2:4] if first else place.shape[1:3]
    return height, width


def _is_shallow(places: list[Place]) -> bool:
    """Whether maps are of raw patches, or at most of one layer's numbers for each patch."""
    kernels = {id(place.node.operation) for place in places if _has_kernel(place)}
    return len(kernels) <= 1


def _has_kernel(place: Place) -> bool:
    return hasattr(place.node.operation, "kernel")


def _grid(
    network: Network, seen: list[Place], place: Place, image_input: int, given: Grid | None
) -> Grid:
    """Return rows and columns of the patches that tokens stand for."""
    count = int(place.shape[1] or 0)
    if given is not None:
        if _extra(place, given) >= 0:
            return given
        raise ValueError(
            f"reshape={given} is more than the {count} tokens that layer {place.name!r} gives"
        )
    before = [one for one in seen[: seen.index(place)] if is_map(one)]
    for one in reversed(before):
        height, width = _sides(one)
        if places_in(one.shape) < math.inf and _extra(place, (height, width)) in (0, 1):
            return int(height or 0), int(width or 0)
    image = network.model.inputs[image_input].shape
    side = math.isqrt(count)
    # A class token more than a square; a square and one more is never a square itself.
    if image[1] is not None and image[1] == image[2] and count - side**2 in (0, 1):
        return side, side
    raise ValueError(
        f"layer {place.name!r} of model {network.model.name!r} gives {count} tokens for each image "
        "of shape "
        f"{tuple(image[1:])}; it is not clear which patches they stand for. Pass reshape=(rows, "
        "columns), or layer= a layer that gives maps (height, width, channels)"
    )


def _looked_at(joints: list[Place], seen: list[Place], grid: Grid) -> Place:
    """Return the last tokens that the scores depend on.

    Of a class token's network, what becomes of the others behind the last attention is not used.
    """
    joints = [place for place in joints if _extra(place, grid) == _extra(joints[-1], grid)]
    if _extra(joints[-1], grid) == 0:
        return joints[-1]
    mixing = [place for place in seen if _mixes(place)]
    last = seen.index(mixing[-1]) if mixing else len(seen)
    before = [place for place in joints if seen.index(place) < last]
    return before[-1] if before else joints[-1]


def _mixes(place: Place) -> bool:
    """Whether tokens see each other there."""
    operation = place.node.operation
    if isinstance(operation, _ATTENTION) or type(operation).__name__ in _MIXING:
        return True
    of_keras = type(operation).__module__.startswith(("keras.", "keras_dlcourse."))
    given = [tensor.shape for tensor in place.node.inputs]
    if of_keras or not _is_tokens(place) or len(given) != 1 or len(given[0]) != 3:
        return False
    # Someone's own layer: see whether the first token notices a change of the last one.
    tokens = np.random.default_rng(0).normal(size=(1, *given[0][1:])).astype("float32")
    changed = tokens.copy()
    changed[:, -1] += 1
    first, second = (
        np.asarray(ops.convert_to_numpy(call_in_inference(place, (x,), {})))[:, 0]
        for x in (ops.convert_to_tensor(tokens), ops.convert_to_tensor(changed))
    )
    return not np.allclose(first, second, atol=1e-6)
