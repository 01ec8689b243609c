"""Whether a network answers the same after a change that should not matter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_dlcourse._progress import track
from keras_dlcourse.data.multilabel import classes_of
from keras_dlcourse.data.stream import count_batches, stream_labelled

Transform: TypeAlias = Callable[..., Any]  # a layer, or a function of a batch


@dataclass(frozen=True)
class Invariance:
    """What `invariance` measured.

    Attributes:
        before: The class of each example, `(n,)`.
        after: Its class after the transform, `(n,)`.
        labels: The true class, `(n,)`, where the data say it.
    """

    before: np.ndarray
    after: np.ndarray
    labels: np.ndarray | None = None

    @property
    def share(self) -> float:
        """The share of examples whose class stays."""
        return float((self.before == self.after).mean())

    @property
    def changed(self) -> np.ndarray:
        """Indices of the examples whose class changes."""
        return np.flatnonzero(self.before != self.after)

    @property
    def accuracies(self) -> tuple[float, float] | None:
        """The share of right answers before and after, where there are labels."""
        if self.labels is None:
            return None
        before, after = (float((x == self.labels).mean()) for x in (self.before, self.after))
        return before, after

    def __str__(self) -> str:
        said = f"{self.share:.1%} of {len(self.before):,} answers stay after the transform"
        if self.accuracies is None:
            return f"{said}."
        before, after = self.accuracies
        return f"{said}; {before:.1%} are right before, {after:.1%} after."


def invariance(
    model: keras.Model,
    data: Any,
    transform: Transform,
    *,
    threshold: float = 0.5,
    batch_size: int = 32,
) -> Invariance:
    """Measure how often a classifier answers the same before and after a transform.

    Augmentation is meant to make a network invariant, and does not always: measure with and without
    it in training.

    Args:
        model: A classifier with one output, `(n, classes)` or `(n, 1)`.
        data: Anything that `kd.data.take` takes; not the training data.
        transform: An augmentation layer, which is called as in training, or a function of a batch
            of images. It gets what the network sees: after the normalization of a pipeline.
        threshold: From where on the one score of an output `(n, 1)` means class 1.
        batch_size: Images at a time.

    Returns:
        An `Invariance`; `print` it.

    Raises:
        TypeError: If the model, the data or the transform are of another kind.
        ValueError: If the model has another output, or the transform changes the shape.

    Example:
        >>> model = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten(),
        ...                           keras.layers.Dense(3)])
        >>> images = np.random.default_rng(0).normal(size=(20, 2, 2, 1))
        >>> print(invariance(model, images, lambda batch: 2 * batch))
        100.0% of 20 answers stay after the transform.

    Reference:
        Goodfellow et al., "Measuring Invariances in Deep Networks", NIPS 2009
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"model must be a keras.Model. Received: {type(model).__name__}")
    before, after, labels = [], [], []
    batches = stream_labelled(data, batch_size)
    for inputs, _, known in track(batches, count_batches(data, batch_size), "Comparing"):
        before.append(_classes(model, inputs, threshold))
        after.append(_classes(model, transformed(transform, inputs), threshold))
        if known is not None:
            labels.append(known)
    true = classes_of(np.concatenate(labels)).astype(int) if labels else None
    return Invariance(np.concatenate(before), np.concatenate(after), true)


def transformed(transform: Transform, images: np.ndarray) -> np.ndarray:
    """Return a batch of images, transformed: by a layer as in training, or by a function."""
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
            f"model must have one output, (n, classes) or (n, 1). Received: outputs of shape "
            f"{keras.tree.map_structure(np.shape, scores)}"
        )
    if scores.shape[1] == 1:
        return (scores[:, 0] > threshold).astype(int)
    return np.asarray(scores.argmax(axis=1))
