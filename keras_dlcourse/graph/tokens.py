"""Feature maps of vision transformers: tokens, and the grid of patches that they represent.

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

from keras_dlcourse.graph.places import count_positions, find_place, is_joint, is_map
from keras_dlcourse.graph.running import Network, Place, call_in_inference

Grid = tuple[int, int]

_ATTENTION = (
    keras.layers.MultiHeadAttention,
    keras.layers.GroupQueryAttention,
    keras.layers.Attention,
    keras.layers.AdditiveAttention,
)
# Operations (not layers) that mix tokens.
_MIXING = ("Matmul", "Einsum", "DotProductAttention")


def find_features(
    network: Network,
    layer: str | None,
    image_input: int = 0,
    besides: Collection[Place] = (),
    reshape: Any = None,
) -> tuple[Place, Grid | None]:
    """Return the call of a layer whose feature maps are explained, and the grid of its tokens.

    A vision transformer may have a map of its patches, followed by tokens, `(n, tokens, features)`.
    If `layer` is None, the last tokens that no path bypasses are used. If a class token precedes
    the tokens, they are the last ones that it still attends to.

    Args:
        network: The model.
        layer: As for `find_place`, or a layer that outputs tokens.
        image_input: As for `find_place`.
        besides: As for `find_place`.
        reshape: Rows and columns of the patches that the tokens represent. None infers them if they
            match an earlier map, or form a square in a square image. Additional tokens precede
            those of the patches.

    Returns:
        The place, and rows and columns of its tokens; None instead of the grid if it outputs maps.

    Raises:
        ValueError: As for `find_place`, or if the grid of the tokens is ambiguous.
    """
    grid = _check_grid(reshape)
    sources = network.sources()
    seen = [place for place in network.places if image_input in sources[place]]
    tokens: list[Place] = []
    if len(network.model.inputs[image_input].shape) == 4:
        if layer is not None:
            named = [place for place in seen if layer in (place.name, place.node.name)]
            tokens = [place for place in named[-1:] if _is_tokens(place)]
        else:
            tokens = _find_patch_tokens(network, seen, image_input, besides, grid)
    if not tokens:
        place = find_place(network, layer, image_input, besides)
        if grid is not None:
            raise ValueError(
                f"reshape is only for layers that output tokens (n, tokens, features). Layer "
                f"{place.name!r} outputs maps of shape {place.shape[1:]}. Omit reshape."
            )
        return place, None
    found = _grid(network, seen, tokens[-1], image_input, grid)
    return tokens[-1] if layer is not None else _find_last_used(tokens, seen, found), found


def _find_patch_tokens(
    network: Network,
    seen: list[Place],
    image_input: int,
    besides: Collection[Place],
    grid: Grid | None,
) -> list[Place]:
    """Return the tokens that no path bypasses, if they are to be used instead of maps."""
    tokens = [place for place in seen if _is_tokens(place) and place not in besides]
    if not tokens:
        return []
    coarsest = None
    if grid is None:
        with suppress(ValueError):  # there may be no maps at all
            coarsest = find_place(network, None, image_input, besides)
    if coarsest is not None:
        at = seen.index(coarsest)
        tokens = [place for place in tokens if seen.index(place) > at]
        same = [place for place in tokens if _count_extra(place, _sides(coarsest)) in (0, 1)]
        # Tokens after a deep network may be columns of text; use its maps in that case.
        tokens = same or (tokens if _is_shallow(seen[: at + 1]) else [])
    return [place for place in tokens if is_joint(network, place, image_input)]


def _check_grid(reshape: Any) -> Grid | None:
    """Return rows and columns, validated."""
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
    """Whether the output is several vectors per image."""
    shape = place.shape
    return len(place.node.outputs) == 1 and len(shape) == 3 and (shape[1] or 0) > 1


def _count_extra(place: Place, grid: tuple[int | None, int | None]) -> int:
    """Return the number of tokens in addition to those of a grid; negative if there are too few."""
    rows, columns = grid
    return int(place.shape[1] or 0) - (rows or 0) * (columns or 0)


def _sides(place: Place) -> tuple[int | None, int | None]:
    """Return height and width of feature maps."""
    first = getattr(place.node.operation, "data_format", None) == "channels_first"
    height, width = place.shape[2:4] if first else place.shape[1:3]
    return height, width


def _is_shallow(places: list[Place]) -> bool:
    """Whether maps are raw patches, or the output of at most one layer with a kernel."""
    kernels = {id(place.node.operation) for place in places if _has_kernel(place)}
    return len(kernels) <= 1


def _has_kernel(place: Place) -> bool:
    return hasattr(place.node.operation, "kernel")


def _grid(
    network: Network, seen: list[Place], place: Place, image_input: int, given: Grid | None
) -> Grid:
    """Return rows and columns of the patches that tokens represent."""
    count = int(place.shape[1] or 0)
    if given is not None:
        if _count_extra(place, given) >= 0:
            return given
        raise ValueError(
            f"reshape={given} needs more than the {count} tokens that layer {place.name!r} outputs."
        )
    before = [one for one in seen[: seen.index(place)] if is_map(one)]
    for one in reversed(before):
        height, width = _sides(one)
        if count_positions(one.shape) < math.inf and _count_extra(place, (height, width)) in (0, 1):
            return int(height or 0), int(width or 0)
    image = network.model.inputs[image_input].shape
    side = math.isqrt(count)
    # A square, with or without a class token; a square plus one is never a square itself.
    if image[1] is not None and image[1] == image[2] and count - side**2 in (0, 1):
        return side, side
    raise ValueError(
        f"layer {place.name!r} of model {network.model.name!r} outputs {count} tokens for each "
        f"image of shape {tuple(image[1:])}, and it is unclear which patches they represent. Pass "
        "reshape=(rows, columns), or set layer= to a layer that outputs maps (height, width, "
        "channels)."
    )


def _find_last_used(joints: list[Place], seen: list[Place], grid: Grid) -> Place:
    """Return the last tokens that the scores depend on.

    In a network with a class token, the other tokens are not used after the last attention.
    """
    joints = [
        place for place in joints if _count_extra(place, grid) == _count_extra(joints[-1], grid)
    ]
    if _count_extra(joints[-1], grid) == 0:
        return joints[-1]
    mixing = [place for place in seen if _mixes(place)]
    last = seen.index(mixing[-1]) if mixing else len(seen)
    before = [place for place in joints if seen.index(place) < last]
    return before[-1] if before else joints[-1]


def _mixes(place: Place) -> bool:
    """Whether a place mixes tokens."""
    operation = place.node.operation
    if isinstance(operation, _ATTENTION) or type(operation).__name__ in _MIXING:
        return True
    of_keras = type(operation).__module__.startswith(("keras.", "keras_dlcourse."))
    given = [tensor.shape for tensor in place.node.inputs]
    if of_keras or not _is_tokens(place) or len(given) != 1 or len(given[0]) != 3:
        return False
    # A custom layer: test whether a change of the last token affects the first one.
    tokens = np.random.default_rng(0).normal(size=(1, *given[0][1:])).astype("float32")
    changed = tokens.copy()
    changed[:, -1] += 1
    first, second = (
        np.asarray(ops.convert_to_numpy(call_in_inference(place, (x,), {})))[:, 0]
        for x in (ops.convert_to_tensor(tokens), ops.convert_to_tensor(changed))
    )
    return not np.allclose(first, second, atol=1e-6)
