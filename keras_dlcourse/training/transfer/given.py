"""The data passed to `transfer`, checked before any long computation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_dlcourse._checks import check_integer
from keras_dlcourse.data import Normalization, Pipeline, take
from keras_dlcourse.data.examples import all_batches, check_end
from keras_dlcourse.data.multilabel import names_one_class
from keras_dlcourse.edge.description.labels import check_class_names


@dataclass(frozen=True)
class Given:
    """Data for training and validation.

    Attributes:
        train: Data for `fit`; a pipeline if the examples can be accessed by index.
        validation: Likewise, or None.
        image_shape: Height, width and channels.
        normalization: The normalization applied to the pixels.
        classes: Number of classes.
        class_names: Names of the classes, or None.
        one_hot: Whether labels are one-hot.
    """

    train: Any
    validation: Any
    image_shape: tuple[int, ...]
    normalization: Normalization
    classes: int
    class_names: tuple[str, ...] | None
    one_hot: bool

    @property
    def batches(self) -> int:
        """Number of batches per epoch."""
        if isinstance(self.train, keras.utils.PyDataset):
            return int(self.train.num_batches or 0)
        try:
            return len(self.train)
        except TypeError:  # e.g. a filtered tf.data.Dataset
            return sum(1 for _ in all_batches(self.train))


def check_given(
    train: Any,
    validation: Any,
    classes: int | Sequence[str],
    batch_size: int,
    seed: int,
    keep: bool,
) -> Given:
    """Check the data, and convert arrays to pipelines.

    Args:
        train: As in `transfer`.
        validation: As in `transfer`.
        classes: Number of classes, or their names.
        batch_size: Batch size for arrays.
        seed: Seed for the order of arrays.
        keep: Whether to read data that can only be iterated into memory.

    Raises:
        TypeError: If the data has the wrong type.
        ValueError: If it does not match the classes, or its parts do not match each other.
    """
    names = None if isinstance(classes, int | np.integer) else check_class_names(classes, "classes")
    count = check_integer("classes", classes if names is None else len(names))
    if count < 2:
        raise ValueError(f"classes must be at least 2. Received: {classes!r}")
    parts = {
        "train": _convert_part("train", train, batch_size, seed, True, keep),
        "validation": _convert_part("validation", validation, batch_size, seed, False, keep),
    }
    first = take(parts["train"], 1)
    shape = tuple(int(size) for size in first.inputs.shape[1:])
    for name, part in parts.items():
        if part is not None:
            _check_part(name, part, shape, first.normalization, count)
    own = first.class_names
    if own is not None and len(own) != count:
        raise ValueError(
            f"classes must be the {len(own)} classes of train, {', '.join(own)}. Received: "
            f"{classes!r}. Pass those names or their number, or create train without class_names."
        )
    return Given(
        **parts,
        image_shape=shape,
        normalization=first.normalization or Normalization.identity(),
        classes=count,
        class_names=names or own,
        one_hot=np.ndim(first.labels) == 2 and first.labels.shape[1] > 1,
    )


def _convert_part(
    name: str, data: Any, batch_size: int, seed: int, shuffle: bool, keep: bool
) -> Any:
    if data is None or isinstance(data, Pipeline):
        return data
    if isinstance(data, Iterator):
        raise TypeError(f"{name} must be something that can be iterated again. Received: {data!r}")
    if not isinstance(data, tuple):
        check_end(data, name)
        if not keep:
            return data
        taken = take(data)
        data = (taken.inputs if taken.pixels is None else taken.pixels, taken.labels)
    weights = data[2] if len(data) > 2 else None
    return Pipeline(
        *data[:2], batch_size=batch_size, shuffle=shuffle, seed=seed, sample_weight=weights
    )


def _check_part(
    name: str,
    part: Any,
    shape: tuple[int, ...],
    normalization: Normalization | None,
    classes: int,
) -> None:
    some = take(part, 16)
    if some.inputs.shape[1:] != shape:
        raise ValueError(
            f"{name} must have images of shape {shape}, as train has. Received: "
            f"{some.inputs.shape[1:]}"
        )
    if some.normalization != normalization:
        raise ValueError(
            f"{name} must have the normalization of train, {normalization}. Received: "
            f"{some.normalization}. Use the same for both, such as two parts of a kd.data.Dataset."
        )
    if normalization is None and some.pixels is None and 0 < some.inputs.max() <= 1:
        raise ValueError(
            f"{name} must have pixels from 0 to 255. Received: pixels up to "
            f"{some.inputs.max():g}. Pass pixels from 0 to 255 and their normalization in "
            "kd.data.pipeline(pixels, labels, normalization=...)."
        )
    labels = part.y if isinstance(part, Pipeline) else some.labels
    if not isinstance(labels, np.ndarray):
        raise ValueError(f"{name} must have labels, one class per image. Received: {type(labels)}")
    if labels.ndim == 2 and labels.shape[1] > 1:
        if labels.shape[1] != classes or not names_one_class(labels):
            raise ValueError(
                f"{name} must have one-hot labels of {classes} classes. Received: {labels.shape}"
            )
    elif not np.isin(labels, np.arange(classes)).all():
        wrong = labels[~np.isin(labels, np.arange(classes))].ravel()[0]
        raise ValueError(f"{name} must have labels from 0 to {classes - 1}. Received: {wrong}")
