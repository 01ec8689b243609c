"""Validation of images and classes before anything is computed."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_dlcourse.graph.flat import order_inputs


def check_inputs(model: keras.Model, images: Any) -> list[np.ndarray]:
    """Return a model's inputs in the model's order, as validated float32 arrays.

    Args:
        model: A functional model.
        images: An array for a model with one input, else a list or dict of arrays.

    Raises:
        ValueError: If shapes do not match the model, or values are NaN or infinite.
    """
    several = len(model.inputs) > 1 or isinstance(images, dict)
    if isinstance(images, dict):
        by_name = isinstance(model.input, dict)
        names = list(model.input) if by_name else [tensor.name for tensor in model.inputs]
        if set(images) != set(names):
            raise ValueError(
                f"images must have the keys {', '.join(map(repr, names))}, the inputs of model "
                f"{model.name!r}. Received: {', '.join(map(repr, images))}."
            )
    given = order_inputs(model, images) if several else [images]
    if len(given) != len(model.inputs):
        raise ValueError(
            f"images must be a list of {len(model.inputs)} arrays, one per input of model "
            f"{model.name!r}. Received: {len(given)}."
        )
    arrays = [
        _check_array(array, tensor) for array, tensor in zip(given, model.inputs, strict=True)
    ]
    if len({len(array) for array in arrays}) != 1:
        counts = ", ".join(str(len(array)) for array in arrays)
        raise ValueError(f"all inputs must have the same number of examples. Received: {counts}.")
    return arrays


def _check_array(images: Any, tensor: Any) -> np.ndarray:
    array = np.asarray(images)
    expected = tuple(tensor.shape)
    fits = array.ndim == len(expected) and all(
        wanted in (None, got) for wanted, got in zip(expected[1:], array.shape[1:], strict=True)
    )
    if not fits or not len(array):
        shape = ", ".join("any" if size is None else str(size) for size in expected[1:])
        raise ValueError(
            f"images must have the shape (n, {shape}), with n at least 1. "
            f"Received: {array.shape}."
            + (" For a single image, pass image[None]." if array.ndim == len(expected) - 1 else "")
        )
    array = array.astype("float32", copy=False)
    bad = int((~np.isfinite(array)).any(tuple(range(1, array.ndim))).sum())
    if bad:
        raise ValueError(
            f"images must hold finite values; {bad} of {len(array)} images hold NaN or infinity."
        )
    return array


def places_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of one map: the input shape without the batch and channel axes.

    Args:
        shape: `(n, features)`, where each feature is a location; `(n, steps, channels)`,
            `(n, height, width, channels)` or `(n, depth, height, width, channels)`.

    Raises:
        ValueError: If the shape is none of these.

    Example:
        >>> places_of((8, 100, 3)), places_of((8, 30))
        ((100,), (30,))
    """
    if not 2 <= len(shape) <= 5:
        raise ValueError(
            "images must be vectors (n, features), series (n, steps, channels), images (n, "
            "height, width, channels), or volumes or videos (n, depth, height, width, channels). "
            f"Received: {shape}."
        )
    return shape[1:] if len(shape) == 2 else shape[1:-1]


def require_images(shape: tuple[int, ...], method: str) -> None:
    """Require images, for a method that masks or moves them.

    Raises:
        ValueError: If they are not images; it names the methods that accept other inputs.
    """
    if len(shape) != 4:
        raise ValueError(
            f"{method} needs images of shape (n, height, width, channels). Received: {shape}. "
            "saliency, integrated_gradients and occlusion also accept vectors, series and volumes."
        )


def check_classes(classes: ArrayLike, n: int, count: int) -> np.ndarray:
    """Return classes of shape `(n,)` or `(n, k)`.

    Args:
        classes: One class for all images, one per image `(n,)`, or several per image `(n, k)`.
        n: Number of images.
        count: Number of classes of the model.

    Raises:
        ValueError: If they are not classes of the model.
    """
    chosen = np.asarray(classes)
    if chosen.ndim == 0:
        chosen = np.repeat(chosen, n)
    if not np.issubdtype(chosen.dtype, np.integer) or chosen.shape[:1] != (n,):
        raise ValueError(
            f"classes must be integers of shape ({n},) or ({n}, k), one row for each of "
            f"{n} images. Received: {chosen.dtype} of shape {chosen.shape}."
        )
    if chosen.ndim > 2 or chosen.size == 0:
        raise ValueError(
            f"classes must have the shape ({n},) or ({n}, k). Received: {chosen.shape}."
        )
    if chosen.min() < 0 or chosen.max() >= count:
        raise ValueError(
            f"classes must be between 0 and {count - 1}, the classes of the model. "
            f"Received: {chosen.min()} to {chosen.max()}."
        )
    return chosen.astype("int32")
