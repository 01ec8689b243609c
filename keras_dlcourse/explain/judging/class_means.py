"""Where a network looks for a class on the whole: the mean of its maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_dlcourse.explain.engine.inputs import checked_classes
from keras_dlcourse.explain.engine.scaling import scaled
from keras_dlcourse.explain.methods import MapFunction, mapper_for


@dataclass(frozen=True, eq=False)
class ClassMeans:
    """Mean maps of classes.

    Attributes:
        maps: Mean of the maps of each class over the images of that class, each map scaled to 0..1
            before, `(classes, height, width)`; zeros for a class without images.
        images: Mean of those images, `(classes, height, width, channels)`.
        counts: How many there were, `(classes,)`.
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

    On images that are framed alike this shows what a class is told by, and a shortcut: evidence
    that is always in the same corner.

    Args:
        model: As the method takes it.
        images: `(n, height, width, channels)`, prepared as for `model.predict`.
        labels: True classes, `(n,)`.
        method: A name in `kd.explain.METHODS`, or such a function.
        batch_size: Images computed at a time; no more maps than that are held.
        **options: Further arguments of the method.

    Returns:
        Mean maps and images.

    Raises:
        TypeError: As the method.
        ValueError: As the method, and if labels do not fit.

    Example:
        >>> model = keras.applications.MobileNet((32, 32, 3), alpha=0.25, weights=None, classes=2)
        >>> images = np.random.default_rng(0).random((6, 32, 32, 3))
        >>> means = class_mean_maps(model, images, [0, 1, 1, 1, 1, 1])
        >>> means.maps.shape, means.counts.tolist()
        ((2, 32, 32), [1, 5])
    """
    x = np.asarray(images)
    mapper = mapper_for(model, method, batch_size, **options)
    chosen = checked_classes(labels, len(x), mapper.classes)
    if chosen.ndim != 1:
        raise ValueError(f"labels must be one for each image, ({len(x)},). Got {chosen.shape}")
    size = mapper.image_size(x[:1])
    maps = np.zeros((mapper.classes, *size))
    sums = np.zeros((mapper.classes, *x.shape[1:]))
    for start in range(0, len(x), batch_size):
        part, known = x[start : start + batch_size], chosen[start : start + batch_size]
        raw, _ = mapper.maps(part, known)
        np.add.at(maps, known, scaled(raw, size))
        np.add.at(sums, known, part)
    counts = np.bincount(chosen, minlength=mapper.classes)
    many = np.maximum(counts, 1)
    return ClassMeans(
        (maps / many[:, None, None]).astype("float32"),
        (sums / many[:, None, None, None]).astype("float32"),
        counts,
    )
