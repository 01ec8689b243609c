"""Images and classes as a model takes them, checked before anything is computed."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_dlcourse.graph.flat import in_order


def checked_inputs(model: keras.Model, images: Any) -> list[np.ndarray]:
    """Return a model's inputs in its order, as float32 arrays that fit it.

    Args:
        model: A functional model.
        images: An array for a model of one input, else a list or dict of arrays.

    Raises:
        ValueError: If their shapes do not fit, or they hold NaN or infinity.
    """
    several = len(model.inputs) > 1 or isinstance(images, dict)
    if isinstance(images, dict):
        by_name = isinstance(model.input, dict)
        names = list(model.input) if by_name else [tensor.name for tensor in model.inputs]
        if set(images) != set(names):
            raise ValueError(
                f"the inputs of model {model.name!r} are called {', '.join(map(repr, names))}. "
                f"Received: {', '.join(map(repr, images))}"
            )
    given = in_order(model, images) if several else [images]
    if len(given) != len(model.inputs):
        raise ValueError(
            f"model {model.name!r} has {len(model.inputs)} inputs: pass a list of as many arrays. "
            f"Received: {len(given)}"
        )
    arrays = [_checked(array, tensor) for array, tensor in zip(given, model.inputs, strict=True)]
    if len({len(array) for array in arrays}) != 1:
        counts = ", ".join(str(len(array)) for array in arrays)
        raise ValueError(f"all inputs must have as many examples. Received: {counts}")
    return arrays


def _checked(images: Any, tensor: Any) -> np.ndarray:
    array = np.asarray(images)
    expected = tuple(tensor.shape)
    fits = array.ndim == len(expected) and all(
        wanted in (None, got) for wanted, got in zip(expected[1:], array.shape[1:], strict=True)
    )
    if not fits or not len(array):
        shape = ", ".join("any" if size is None else str(size) for size in expected[1:])
        raise ValueError(
            f"images must have the shape (n, {shape}) with n of at least 1. "
            f"Received: {array.shape}"
            + (". For one image pass image[None]." if array.ndim == len(expected) - 1 else "")
        )
    array = array.astype("float32", copy=False)
    bad = int((~np.isfinite(array)).any(tuple(range(1, array.ndim))).sum())
    if bad:
        raise ValueError(
            f"images must hold finite numbers; {bad} of {len(array)} hold NaN or infinity."
        )
    return array


def places_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes' lengths over which a map of inputs runs: all but the examples and channels.

    Args:
        shape: `(n, features)`, of which each is a place; `(n, steps, channels)`,
            `(n, height, width, channels)` or `(n, depth, height, width, channels)`.

    Raises:
        ValueError: If it is none of these.

    Example:
        >>> places_of((8, 100, 3)), places_of((8, 30))
        ((100,), (30,))
    """
    if not 2 <= len(shape) <= 5:
        raise ValueError(
            "maps are drawn of vectors (n, features), series (n, steps, channels), images (n, "
            "height, width, channels), and volumes or videos (n, depth, height, width, channels). "
            f"Received inputs of shape {shape}"
        )
    return shape[1:] if len(shape) == 2 else shape[1:-1]


def require_images(shape: tuple[int, ...], method: str) -> None:
    """Refuse inputs that are no images for a method that covers or moves images.

    Raises:
        ValueError: Naming the methods that take them.
    """
    if len(shape) != 4:
        raise ValueError(
            f"{method} needs images (n, height, width, channels); saliency, integrated_gradients "
            f"and occlusion take vectors, series and volumes, too. Received inputs of shape {shape}"
        )


def checked_classes(classes: ArrayLike, n: int, count: int) -> np.ndarray:
    """Return classes of shape `(n,)` or `(n, k)`.

    Args:
        classes: One for all images, `(n,)` one for each, or `(n, k)` several for each.
        n: Number of images.
        count: Number of classes of the model.

    Raises:
        ValueError: If they are no classes of the model.
    """
    chosen = np.asarray(classes)
    if chosen.ndim == 0:
        chosen = np.repeat(chosen, n)
    if not np.issubdtype(chosen.dtype, np.integer) or chosen.shape[:1] != (n,):
        raise ValueError(
            f"classes must be whole numbers of shape ({n},) or ({n}, k), one row for each of "
            f"{n} images. Received: {chosen.dtype} of shape {chosen.shape}"
        )
    if chosen.ndim > 2 or chosen.size == 0:
        raise ValueError(f"classes must have the shape ({n},) or ({n}, k). Got {chosen.shape}")
    if chosen.min() < 0 or chosen.max() >= count:
        raise ValueError(
            f"classes must be between 0 and {count - 1}, the classes of the model. "
            f"Received: {chosen.min()} to {chosen.max()}"
        )
    return chosen.astype("int32")
