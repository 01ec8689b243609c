"""Measure whether predictions stay the same after a change that should not matter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_dlcourse._progress import track
from keras_dlcourse.data.multilabel import classes_of
from keras_dlcourse.data.stream import count_batches, stream_with_labels

Transform: TypeAlias = Callable[..., Any]  # a layer, or a function of a batch


@dataclass(frozen=True)
class Invariance:
    """The result of `invariance`.

    Attributes:
        before: The predicted class of each example, `(n,)`.
        after: The predicted class after the transform, `(n,)`.
        labels: The true class, `(n,)`, if `data` has labels.
    """

    before: np.ndarray
    after: np.ndarray
    labels: np.ndarray | None = None

    @property
    def share(self) -> float:
        """The fraction of examples whose predicted class stays the same."""
        return float((self.before == self.after).mean())

    @property
    def changed(self) -> np.ndarray:
        """Indices of the examples whose predicted class changes."""
        return np.flatnonzero(self.before != self.after)

    @property
    def accuracies(self) -> tuple[float, float] | None:
        """The accuracy before and after the transform, if there are labels."""
        if self.labels is None:
            return None
        before, after = (float((x == self.labels).mean()) for x in (self.before, self.after))
        return before, after

    def __str__(self) -> str:
        said = f"{self.share:.1%} of {len(self.before):,} predictions stay after the transform"
        if self.accuracies is None:
            return f"{said}."
        before, after = self.accuracies
        return f"{said}; {before:.1%} are correct before, {after:.1%} after."


def invariance(
    model: keras.Model,
    data: Any,
    transform: Transform,
    *,
    threshold: float = 0.5,
    batch_size: int = 32,
) -> Invariance:
    """Measure how often a classifier predicts the same class before and after a transform.

    Augmentation is meant to make a network invariant, but does not always succeed: compare networks
    trained with and without it.

    Args:
        model: A classifier with one output, `(n, classes)` or `(n, 1)`.
        data: Anything that `kd.data.take` reads; not the training data.
        transform: An augmentation layer, called in training mode, or a function of a batch of
            images. It receives the images as the network sees them: after the normalization of a
            pipeline.
        threshold: For an output `(n, 1)`, scores above this mean class 1.
        batch_size: Number of images at a time.

    Returns:
        An `Invariance`, which can be printed.

    Raises:
        TypeError: If `model`, `data` or `transform` has the wrong type.
        ValueError: If `model` has another kind of output, or `transform` changes the shape.

    Example:
        >>> model = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten(),
        ...                           keras.layers.Dense(3)])
        >>> images = np.random.default_rng(0).normal(size=(20, 2, 2, 1))
        >>> print(invariance(model, images, lambda batch: 2 * batch))
        100.0% of 20 predictions stay after the transform.

    Reference:
        Goodfellow et al., "Measuring Invariances in Deep Networks", NIPS 2009
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"model must be a keras.Model. Received: {type(model).__name__}")
    before, after, labels = [], [], []
    batches = stream_with_labels(data, batch_size)
    for inputs, _, known in track(batches, count_batches(data, batch_size), "Comparing"):
        before.append(_classes(model, inputs, threshold))
        after.append(_classes(model, apply_transform(transform, inputs), threshold))
        if known is not None:
            labels.append(known)
    true = classes_of(np.concatenate(labels)).astype(int) if labels else None
    return Invariance(np.concatenate(before), np.concatenate(after), true)


def apply_transform(transform: Transform, images: np.ndarray) -> np.ndarray:
    """Transform a batch of images, by a layer in training mode or by a function."""
    if isinstance(transform, keras.layers.Layer):
        changed = transform(images, training=True)
    elif callable(transform):
        changed = transform(images)
    else:
        raise TypeError(f"transform must be a layer or a function. Received: {transform!r}")
    found = np.asarray(keras.ops.convert_to_numpy(changed), "float32")
    if found.shape != images.shape:
        raise ValueError(
            f"transform must keep the shape of a batch, {images.shape}. Received: {found.shape}"
        )
    return found


def _classes(model: keras.Model, inputs: np.ndarray, threshold: float) -> np.ndarray:
    scores = model.predict_on_batch(inputs)
    if not hasattr(scores, "shape") or scores.ndim != 2:
        raise ValueError(
            "model must have one output of shape (n, classes) or (n, 1). Received: shape "
            f"{keras.tree.map_structure(np.shape, scores)}"
        )
    if scores.shape[1] == 1:
        return (scores[:, 0] > threshold).astype(int)
    return np.asarray(scores.argmax(axis=1))
