"""What a model does to its pixels itself, before anything that has been trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from keras_dlcourse import layers
from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.graph.flat import Graph, Node, functional
from keras_dlcourse.layers.description.image_description import (
    RESCALING_LAYERS,
    RESCALING_OPERATIONS,
)

# These hand a uniformly black or white image on as it is, or only do so outside of training.
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
# Operations of `keras.ops` and layers that have no number to learn: they are run as they are.
_RUN_OPERATIONS = (*RESCALING_OPERATIONS, "Cast", "Concatenate", "Flip", "GetItem", "Stack")

_OPEN_SIZE = 32  # of the image that is followed into a model of any size
# The size of what a network is normally fed, see `takes_pixels`.
_LARGEST_SCALED, _LEAST_SPREAD = 64, 0.25
_LARGEST_CENTRED, _LEAST_MEAN = 256, 8


@dataclass(frozen=True)
class Seen:
    """A black and a white image at a place in the entrance of a model.

    Attributes:
        black: The black image, `(1, height, width, channels)`.
        white: The white one.
        rescaled_by: Names of the layers and operations that have changed their numbers.
    """

    black: np.ndarray
    white: np.ndarray
    rescaled_by: tuple[str, ...] = ()

    @property
    def range(self) -> tuple[float, float]:
        """The ends of the range of all pixels."""
        ends = np.stack([self.black, self.white])
        return float(ends.min()), float(ends.max())


@dataclass(frozen=True)
class Entrance:
    """What pixels meet in a model before the first layer that computes.

    Attributes:
        rounders: The `FakeQuantize` layers, each with what it gets.
        ends: What the layers get that compute.
    """

    rounders: list[tuple[layers.FakeQuantize, Seen]] = field(default_factory=list)
    ends: list[Seen] = field(default_factory=list)


def entrance(model: keras.Model, normalization: Normalization) -> Entrance:
    """Follow a black and a white image into a model, up to the first layers that compute.

    Nested models are entered. What shows its effect in training only, such as augmentation, is
    passed.

    Args:
        model: A model of images.
        normalization: What pixels from 0 to 255 go through before the model.

    Returns:
        What they met; nothing in a model without a graph.
    """
    found = Entrance()
    try:
        model = functional(model)
    except ValueError:  # subclassed
        return found
    shape = [size or _OPEN_SIZE for size in model.inputs[0].shape[1:]]
    black, white = (normalization(np.full((1, *shape), level, "uint8")) for level in (0, 255))
    _follow(model, [Seen(black, white)], found)
    return found


def takes_pixels(model: keras.Model) -> tuple[bool, str]:
    """Return whether a model turns pixels from 0 to 255 into a usual range itself.

    It does if its first layers are `Rescaling`, `Normalization` or arithmetic with constants, and
    what they make of 0 to 255 is what networks are trained on: numbers up to 64 that differ by at
    least a quarter, or differences from a mean of at least 8 grey levels. Layers that were meant
    for numbers from 0 to 1 make of 255 far more than that. A model whose input is of whole numbers
    takes pixels, too.

    Args:
        model: A model of images.

    Returns:
        Whether it takes pixels as they are; and, if it has such layers and does not, what they make
        of pixels, as a sentence.
    """
    ends = entrance(model, Normalization.identity()).ends
    if ends and "int" in model.inputs[0].dtype:
        return True, ""
    if not ends or not all(seen.rescaled_by for seen in ends):
        return False, ""
    for seen in ends:
        # Not the extremes: where pixels at a border never change, their deviation is next to 0.
        low, high = sorted(float(np.median(image)) for image in (seen.black, seen.white))
        largest = max(abs(low), abs(high))
        scaled = largest <= _LARGEST_SCALED and high - low >= _LEAST_SPREAD
        centred = largest <= _LARGEST_CENTRED and low <= -_LEAST_MEAN
        if not (scaled or centred):
            return False, (
                f"Its first layers ({', '.join(seen.rescaled_by)}) turn pixels from 0 to 255 into "
                f"numbers from {low:.4g} to {high:.4g}, so they expect something other than "
                "pixels. "
            )
    return True, ""


def check_learned_range(model: keras.Model, normalization: Normalization) -> None:
    """Refuse pixels that a quantization-aware model was not trained on, by its learned range.

    Training images seldom reach black and white in every batch, and augmentation goes a little
    beyond, so a quarter of the range of all pixels is allowed: the learned range may end that far
    beyond either end, begin that far above black, and must hold that much.

    Args:
        model: A model of images, quantization-aware or not.
        normalization: What the file would do to pixels.

    Raises:
        ValueError: Naming both ranges.
    """
    for layer, seen in entrance(model, normalization).rounders:
        if not layer.is_observed:  # which has an error of its own
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
            f"standard deviation {normalization.std} would come in as {black:.4g} to {white:.4g}: "
            "pass as preprocessing= what its training images went through, or train it on images "
            "that went through this"
        )


def _follow(model: keras.Model, inputs: list[Seen], found: Entrance) -> list[Seen | None]:
    """Note what a model's entrance does; return its outputs, None for those that are computed."""
    try:
        graph = Graph(functional(model))
    except ValueError:  # subclassed
        found.ends.extend(inputs)
        return [None] * len(model.outputs or [None])
    known: dict[int, Seen] = dict(zip(map(id, graph.model.inputs), inputs, strict=True))
    for node in graph.nodes:
        seen = [known[id(tensor)] for tensor in node.inputs if id(tensor) in known]
        if not seen:
            continue
        if len(seen) < len(node.inputs) or not _passes(node.operation):
            found.ends.extend(seen)
        elif isinstance(node.operation, keras.Model):
            left = _follow(node.operation, seen, found)
            known.update((id(t), s) for t, s in zip(node.outputs, left, strict=True) if s)
        else:
            if isinstance(node.operation, layers.FakeQuantize):
                found.rounders.append((node.operation, seen[0]))
            known[id(node.outputs[0])] = _behind(node, seen)
    return [known.get(id(tensor)) for tensor in graph.model.outputs]


def _behind(node: Node, seen: list[Seen]) -> Seen:
    """Return what an operation makes of images of one colour."""
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
    """Whether it is known what an operation makes of images of one colour."""
    if isinstance(operation, keras.layers.Layer):
        known = (*_PASSING_LAYERS, *RESCALING_LAYERS, keras.Model)
        return isinstance(operation, known) or _augments(operation)
    return type(operation).__name__ in _RUN_OPERATIONS


def _is_rescaling(operation: Any) -> bool:
    if isinstance(operation, keras.layers.Layer):
        return isinstance(operation, RESCALING_LAYERS)
    return type(operation).__name__ in RESCALING_OPERATIONS


def _augments(operation: Any) -> bool:
    """Whether a layer changes images in training only, as Keras's and ours do."""
    return isinstance(operation, keras.layers.Layer) and (
        type(operation).__name__.startswith(("Rand", "AugMix", "CutMix", "MixUp"))
    )
