"""Find what a model itself does to pixels before its first trained layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from keras_dlcourse import layers
from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.export.conversion.structure import get_tensor, list_inputs
from keras_dlcourse.graph.flat import Graph, Node, to_functional
from keras_dlcourse.layers.description.image_description import (
    RESCALING_LAYERS,
    RESCALING_OPERATIONS,
)

# Layers that pass a uniformly black or white image on unchanged, at least in inference.
_PASSING_LAYERS = (
    keras.layers.AlphaDropout,
    keras.layers.CenterCrop,
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.Identity,
    keras.layers.Resizing,
    layers.FakeQuantize,
    layers.FloatBarrier,
    layers.ImageDescription,
)
# Operations of `keras.ops` without trained values: they are simply run.
_RUN_OPERATIONS = (*RESCALING_OPERATIONS, "Cast", "Concatenate", "Flip", "GetItem", "Stack")

_OPEN_SIZE = 32  # image size used to follow a model with dynamic input sizes
# The usual ranges of network inputs, see `takes_pixels`.
_LARGEST_SCALED, _LEAST_SPREAD = 64, 0.25
_LARGEST_CENTRED, _LEAST_MEAN = 256, 8


@dataclass(frozen=True)
class Seen:
    """A black and a white image at some point in the entrance of a model.

    Attributes:
        black: The black image, `(1, height, width, channels)`.
        white: The white image, of the same shape.
        rescaled_by: Names of the layers and operations that have rescaled them so far.
    """

    black: np.ndarray
    white: np.ndarray
    rescaled_by: tuple[str, ...] = ()

    @property
    def range(self) -> tuple[float, float]:
        """Lower and upper end of the range of all pixels."""
        ends = np.stack([self.black, self.white])
        return float(ends.min()), float(ends.max())


@dataclass(frozen=True)
class Entrance:
    """What pixels pass in a model before the first computing layer.

    Attributes:
        rounders: The `FakeQuantize` layers, each with its input.
        described: The normalizations that `ImageDescription` layers record for pixels that nothing
            has rescaled before.
        ends: The inputs of the first computing layers.
    """

    rounders: list[tuple[layers.FakeQuantize, Seen]] = field(default_factory=list)
    described: list[Normalization] = field(default_factory=list)
    ends: list[Seen] = field(default_factory=list)


def find_entrance(model: keras.Model, normalization: Normalization, number: int = 0) -> Entrance:
    """Follow a black and a white image into a model, up to the first computing layers.

    Nested models are entered. Layers that act in training only, such as augmentation, are skipped.

    Args:
        model: A model that takes images.
        normalization: The normalization applied to pixels from 0 to 255 before the model.
        number: The index of the input that takes them, in the order of `list_inputs`.

    Returns:
        The layers and inputs found; an empty `Entrance` for a model without a graph.
    """
    found = Entrance()
    try:
        model = to_functional(model)
    except ValueError:  # subclassed
        return found
    tensor = get_tensor(model, number)
    shape = [size or _OPEN_SIZE for size in tensor.shape[1:]]
    black, white = (normalization(np.full((1, *shape), level, "uint8")) for level in (0, 255))
    _follow(model, {id(tensor): Seen(black, white)}, found)
    return found


def takes_pixels(model: keras.Model, number: int = 0) -> tuple[bool, str]:
    """Return whether a model itself rescales pixels from 0 to 255 to a usual range.

    It does if its first layers are `Rescaling`, `Normalization` or arithmetic with constants, and
    they map 0 to 255 to values that networks are usually trained on: values up to 64 that differ by
    at least a quarter, or differences from a mean of at least 8 gray levels. Layers meant for
    values from 0 to 1 map 255 far beyond that. A model with an integer input takes pixels, too.

    Args:
        model: A model that takes images.
        number: The index of the input that takes them.

    Returns:
        Whether it takes raw pixels; and, if it has such layers but does not, a sentence on what
        they do to pixels.
    """
    ends = find_entrance(model, Normalization.identity(), number).ends
    if ends and "int" in list_inputs(model)[number].dtype:
        return True, ""
    if not ends or not all(seen.rescaled_by for seen in ends):
        return False, ""
    for seen in ends:
        # The median, not the extremes: border pixels that never change have a deviation near 0.
        low, high = sorted(float(np.median(image)) for image in (seen.black, seen.white))
        largest = max(abs(low), abs(high))
        scaled = largest <= _LARGEST_SCALED and high - low >= _LEAST_SPREAD
        centred = largest <= _LARGEST_CENTRED and low <= -_LEAST_MEAN
        if not (scaled or centred):
            return False, (
                f"Its first layers ({', '.join(seen.rescaled_by)}) map pixels from 0 to 255 to "
                f"values from {low:.4g} to {high:.4g}, so they expect something other than "
                "pixels. "
            )
    return True, ""


def check_learned_range(model: keras.Model, normalization: Normalization, number: int = 0) -> None:
    """Check the learned range of a quantization-aware model against the range of the file's pixels.

    Training images seldom reach black and white in every batch, and augmentation goes slightly
    beyond, so there is a tolerance of a quarter of the range of all pixels: the learned range may
    exceed either end by that much, may begin that much above black, and must reach at least that
    far above black.

    Args:
        model: A model that takes images, quantization-aware or not.
        normalization: The normalization that the file would apply to pixels.
        number: The index of the input that takes them.

    Raises:
        ValueError: If the ranges do not match; names both.
    """
    for layer, seen in find_entrance(model, normalization, number).rounders:
        if not layer.is_observed:  # reported elsewhere
            continue
        low, high = layer.range()
        black, white = min(seen.range[0], 0.0), max(seen.range[1], 0.0)
        quarter = (white - black) / 4
        begins = black - quarter <= low <= black + quarter
        ends = black + quarter <= high <= white + quarter
        if begins and ends:
            continue
        raise ValueError(
            f"model {model.name!r} was trained on inputs from {low:.4g} to {high:.4g} (layer "
            f"{layer.name!r}), but pixels from 0 to 255 with mean {normalization.mean} and "
            f"standard deviation {normalization.std} would arrive as {black:.4g} to {white:.4g}. "
            "Pass the normalization of its training images as preprocessing=, or train it with "
            "this normalization"
        )


def _follow(model: keras.Model, known: dict[int, Seen], found: Entrance) -> list[Seen | None]:
    """Record a functional model's entrance in `found`.

    Args:
        model: The model.
        known: The images at its inputs, by the `id` of the symbolic input.
        found: Receives what is found.

    Returns:
        The images at its outputs, None for computed ones.
    """
    graph = Graph(model)
    for node in graph.nodes:
        seen = [known[id(tensor)] for tensor in node.inputs if id(tensor) in known]
        if not seen:
            continue
        if len(seen) < len(node.inputs) or not _passes(node.operation):
            found.ends.extend(seen)
        elif isinstance(node.operation, keras.Model):
            left = _enter(node.operation, seen, found)
            known.update((id(t), s) for t, s in zip(node.outputs, left, strict=True) if s)
        else:
            if isinstance(node.operation, layers.FakeQuantize):
                found.rounders.append((node.operation, seen[0]))
            elif isinstance(node.operation, layers.ImageDescription) and not seen[0].rescaled_by:
                recorded = node.operation.normalization
                found.described.extend([] if recorded is None else [recorded])
            known[id(node.outputs[0])] = _apply(node, seen)
    return [known.get(id(tensor)) for tensor in graph.model.outputs]


def _enter(model: keras.Model, seen: list[Seen], found: Entrance) -> list[Seen | None]:
    """Follow images into a nested model, whose inputs are all known."""
    try:
        model = to_functional(model)
    except ValueError:  # subclassed
        found.ends.extend(seen)
        return [None] * len(model.outputs or [None])
    return _follow(model, dict(zip(map(id, model.inputs), seen, strict=True)), found)


def _apply(node: Node, seen: list[Seen]) -> Seen:
    """Return the result of an operation on images of one color."""
    if isinstance(node.operation, _PASSING_LAYERS) or _augments(node.operation):
        return seen[0]
    by_tensor = dict(zip(map(id, node.inputs), seen, strict=True))

    def run(colour: str) -> np.ndarray:
        def swap(value: Any) -> Any:
            if isinstance(value, keras.KerasTensor):
                return getattr(by_tensor[id(value)], colour)
            return value

        args, kwargs = tree.map_structure(swap, (node.args, node.kwargs))
        return ops.convert_to_numpy(node.operation(*args, **kwargs))

    by = seen[0].rescaled_by
    if _is_rescaling(node.operation):
        by = (*by, node.operation.name)
    return Seen(run("black"), run("white"), by)


def _passes(operation: Any) -> bool:
    """Whether the result of an operation on images of one color is known."""
    if isinstance(operation, keras.layers.Layer):
        known = (*_PASSING_LAYERS, *RESCALING_LAYERS, keras.Model)
        return isinstance(operation, known) or _augments(operation)
    return type(operation).__name__ in _RUN_OPERATIONS


def _is_rescaling(operation: Any) -> bool:
    if isinstance(operation, keras.layers.Layer):
        return isinstance(operation, RESCALING_LAYERS)
    return type(operation).__name__ in RESCALING_OPERATIONS


def _augments(operation: Any) -> bool:
    """Whether a layer is an augmentation layer, Keras's or ours, which acts in training only."""
    return isinstance(operation, keras.layers.Layer) and (
        type(operation).__name__.startswith(("Rand", "AugMix", "CutMix", "MixUp"))
    )
