"""Where a network looks for a class on average: the mean of its maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_dlcourse.explain.engine.inputs import check_classes
from keras_dlcourse.explain.engine.scaling import resize_and_scale
from keras_dlcourse.explain.methods import MapFunction, mapper_for


@dataclass(frozen=True, eq=False)
class ClassMeans:
    """Mean maps and mean images per class.

    Attributes:
        maps: Mean map of each class over the images of that class, each map first scaled to 0..1,
            `(classes, height, width)`; zeros for a class without images.
        images: Mean of those images, `(classes, height, width, channels)`.
        counts: Number of those images, `(classes,)`.
    """

    maps: np.ndarray
    images: np.ndarray
    counts: np.ndarray


def class_mean_maps(
    model: keras.Model,
    images: ArrayLike,
    labels: ArrayLike,
    method: str | MapFunction = "cam",
    batch_size: int = 32,
    **options: Any,
) -> ClassMeans:
    """Average the maps of each class over its images.

    For images that are framed alike, this shows what a class is recognized by, and it reveals
    shortcuts: evidence that is always in the same corner.

    Args:
        model: A model that the method accepts.
        images: `(n, height, width, channels)`, prepared as for `model.predict`.
        labels: True classes, `(n,)`.
        method: A name in `kd.explain.METHODS`, or a function like those.
        batch_size: Number of images per batch; no more maps than that are in memory.
        **options: Further arguments for the method.

    Returns:
        Mean maps and images.

    Raises:
        TypeError: As raised by the method.
        ValueError: As raised by the method; also if labels do not match the images or the model.

    Example:
        >>> model = keras.applications.MobileNet((32, 32, 3), alpha=0.25, weights=None, classes=2)
        >>> images = np.random.default_rng(0).random((6, 32, 32, 3))
        >>> means = class_mean_maps(model, images, [0, 1, 1, 1, 1, 1])
        >>> means.maps.shape, means.counts.tolist()
        ((2, 32, 32), [1, 5])
    """
    x = np.asarray(images)
    mapper = mapper_for(model, method, batch_size, **options)
    chosen = check_classes(labels, len(x), mapper.classes)
    if chosen.ndim != 1:
        raise ValueError(f"labels must have the shape ({len(x)},). Received: {chosen.shape}.")
    size = mapper.image_size(x[:1])
    maps = np.zeros((mapper.classes, *size))
    sums = np.zeros((mapper.classes, *x.shape[1:]))
    for start in range(0, len(x), batch_size):
        part, known = x[start : start + batch_size], chosen[start : start + batch_size]
        raw, _ = mapper.maps(part, known)
        np.add.at(maps, known, resize_and_scale(raw, size))
        np.add.at(sums, known, part)
    counts = np.bincount(chosen, minlength=mapper.classes)
    many = np.maximum(counts, 1)
    return ClassMeans(
        (maps / many[:, None, None]).astype("float32"),
        (sums / many[:, None, None, None]).astype("float32"),
        counts,
    )
