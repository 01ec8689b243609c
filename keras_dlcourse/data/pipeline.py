"""Batches for `fit` in an order that is a function of (seed, epoch) only."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keras_dlcourse._checks import check_integer
from keras_dlcourse.data import checks
from keras_dlcourse.data.mask_labels import IGNORE, is_masks
from keras_dlcourse.data.trainer import IS_ADAPTER, TrainerData
from keras_dlcourse.edge.description.labels import check_class_names
from keras_dlcourse.edge.description.normalization import Normalization


class Pipeline(TrainerData):
    """Batches of images and labels for `Model.fit`, `evaluate` and `predict`.

    Created by `keras_dlcourse.data.pipeline`, which documents the arguments.

    **Order.** Only `fit` shuffles (if `shuffle`), with a new order each epoch: epoch `e` sees the
    examples in the order `pipeline.order(e)`, which is
    `numpy.random.default_rng((seed, e)).permutation(n)`, cut into batches.
    `keras.utils.set_random_seed` and `fit(shuffle=...)` do not affect it. `evaluate` and `predict`
    see the examples in stored order, so that predictions line up with `pipeline.y`, and do not
    affect the training order.

    **Epoch.** `epoch` counts the epochs that `fit` has started with this pipeline, including
    interrupted ones, over several calls of `fit`; so it is the number of the next epoch. Set it to
    start training from a given epoch, e.g. `pipeline.epoch = 5` before `fit(initial_epoch=5)`, or
    save it with `state_dict`. With `fit(steps_per_epoch=...)`, one pass over the data continues
    over several epochs, in the order of the epoch in which it started.

    **Custom loops.** `for x, y in pipeline` yields the batches of epoch `pipeline.epoch` and does
    not change it: set `epoch` yourself, or use `batches(epoch)`.

    Attributes:
        x: The given images, `(n, height, width, channels)`.
        y: The labels, a dictionary with the labels of several tasks, or None.
        sample_weight: Weights, multiplied by the class weights, or None.
        normalization: The `Normalization` applied to each batch, or None.
        class_names: Tuple of class names, or None.
        batch_size: Number of images per batch; the last batch of an epoch may be smaller.
        drop_remainder: Whether a smaller last batch is dropped.
        shuffle: Whether `fit` shuffles.
        seed: Seed of the order.
        epoch: Number of the next epoch of `fit`.

    Example:
        >>> import numpy as np, keras_dlcourse as kd
        >>> train = kd.data.pipeline(np.zeros((5, 8, 8, 1), "uint8"), np.arange(5), batch_size=2,
        ...                          shuffle=True, seed=3)
        >>> len(train), train.image_shape
        (3, (8, 8, 1))
        >>> bool((train.order(7) == np.random.default_rng((3, 7)).permutation(5)).all())
        True
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        *,
        batch_size: int = 32,
        shuffle: bool = False,
        seed: int = 0,
        normalization: Normalization | None = None,
        class_names: Sequence[str] | None = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        drop_remainder: bool = False,
    ) -> None:
        super().__init__(seed)
        self.x = checks.images(x)
        self.class_names = None if class_names is None else check_class_names(class_names)
        self.y = checks.labels(y, tuple(self.x.shape), self.class_names)
        self.normalization = checks.normalization(normalization, self.x.shape[-1])
        self.sample_weight = checks.weights(sample_weight, class_weight, self.y, len(self.x))
        self.batch_size = check_integer("batch_size", batch_size)
        self.shuffle, self.drop_remainder = bool(shuffle), bool(drop_remainder)
        if self.drop_remainder and self.examples < self.batch_size:
            raise ValueError(
                f"drop_remainder=True needs {self.batch_size} images or more, a full batch. "
                f"Received: {self.examples}"
            )
        self._order = np.arange(self.examples)

    @property
    def examples(self) -> int:
        """Number of images; `len(pipeline)` is the number of batches."""
        return len(self.x)

    @property
    def rows(self) -> int:
        """Number of images in all batches of one pass."""
        return len(self) * self.batch_size if self.drop_remainder else self.examples

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image, for use as a model's `input_shape`."""
        height, width, channels = self.x.shape[1:]
        return int(height), int(width), int(channels)

    @property
    def ignore(self) -> int | None:
        """The value of pixels without a label, 255, if the labels are masks, else None."""
        has_masks = is_masks(self.y) and self.y.shape == tuple(self.x.shape[:3])
        return IGNORE if has_masks else None

    def order(self, epoch: int | None = None) -> np.ndarray:
        """Return the order in which an epoch of `fit` sees the examples.

        Args:
            epoch: Number of the epoch; None for the next one.

        Returns:
            `(n,)` indices into `x` and `y`, each once.
        """
        if not self.shuffle:
            return np.arange(self.examples)
        epoch = self.epoch if epoch is None else check_integer("epoch", epoch, least=0)
        return np.random.default_rng((self.seed, epoch)).permutation(self.examples)

    def prepare(self, pixels: np.ndarray) -> np.ndarray:
        """Convert images like those in `x` to network inputs: float32, normalized."""
        if self.normalization is None:
            return np.asarray(pixels, "float32")
        return np.asarray(self.normalization(pixels), "float32")

    def batches(self, epoch: int | None = None) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield the batches of an epoch (the next one if None), without changing any state."""
        return self._batches(self.order(epoch))

    # Called by Keras.

    def __len__(self) -> int:
        if self.drop_remainder:
            return self.examples // self.batch_size
        return math.ceil(self.examples / self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"batch {index} is out of range for a pipeline of {len(self)} batches")
        start = index % len(self) * self.batch_size
        # During an epoch, Keras calls this only if it does not accept adapters.
        order = self.order() if IS_ADAPTER else self._order
        return self._batch(order[start : start + self.batch_size])

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        return self.batches()

    def begin_pass(self, training: bool) -> None:
        """Set the order of the pass that begins, and count it as an epoch if it is for training."""
        self._order = self.order() if training else np.arange(self.examples)
        self.epoch += training

    def one_pass(self, first: int = 0) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield the batches of the pass that is current when the first one is requested.

        Keras creates one unused iterator at the end of each epoch; since it requests no batch from
        it, that iterator does not consume an epoch's order.

        Args:
            first: Number of the batch to start with.
        """
        yield from self._batches(self._order[first * self.batch_size :])

    def _batches(self, order: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
        last = len(order) - (self.batch_size - 1 if self.drop_remainder else 0)
        for start in range(0, last, self.batch_size):
            yield self._batch(order[start : start + self.batch_size])

    def _batch(self, indices: np.ndarray) -> tuple[np.ndarray, ...]:
        beside = (self.y, self.sample_weight)
        parts = (rows_of(part, indices) for part in beside if part is not None)
        # Masks are stored in one byte, in which differences of class numbers would wrap around.
        parts = (part.astype("int32") if is_masks(part) else part for part in parts)
        return (self.prepare(self.x[indices]), *parts)

    def __repr__(self) -> str:
        size = "x".join(map(str, self.image_shape))
        classes = f", {len(self.class_names)} classes" if self.class_names else ""
        order = f"shuffled with seed {self.seed}" if self.shuffle else "in stored order"
        return f"<Pipeline: {self.examples} images of {size}{classes}, {order}>"


def rebuild(data: Pipeline, **changes: Any) -> Pipeline:
    """Return a copy of a pipeline with some arguments changed."""
    names = (
        *("x", "y", "batch_size", "shuffle", "seed", "drop_remainder"),
        *("normalization", "class_names", "sample_weight"),
    )
    return Pipeline(**{name: getattr(data, name) for name in names} | changes)


def rows_of(labels: Any, rows: Any) -> Any:
    """Return some rows of labels, or of each task's labels."""
    if isinstance(labels, Mapping):
        return {task: part[rows] for task, part in labels.items()}
    return labels[rows]


def pipeline(
    x: Any,
    y: Any = None,
    *,
    batch_size: int = 32,
    shuffle: bool = False,
    seed: int = 0,
    normalization: Normalization | None = None,
    class_names: Sequence[str] | None = None,
    sample_weight: Any = None,
    class_weight: Mapping[int, float] | None = None,
    drop_remainder: bool = False,
) -> Pipeline:
    """Create batches of images and labels for `Model.fit`, `evaluate` and `predict`.

    Args:
        x: Images `(n, height, width, channels)`, uint8 or float, with pixel values in 0..255 if
            there is a `normalization`; an array, or images that are read on access (`ImageFiles`).
        y: Labels `(n,)` as integers or `(n, classes)` one-hot; None if there are none. Integers
            are converted to int32, floats to float32. Or a dictionary with the labels of several
            tasks, where NaN and class numbers below 0 mark missing labels. Or masks `(n, height,
            width)` of class numbers as large as the images, where 255 marks pixels without a label;
            uint8 masks stay uint8 in memory, and batches of masks are int32.
        batch_size: Number of images per batch; the last batch of an epoch may be smaller.
        shuffle: Whether `fit` sees a new order each epoch. The order is a function of `seed` and
            the epoch number, see `Pipeline`.
        seed: Seed of the order, 0 or more.
        normalization: Applied to each batch, and passed on to the exported file.
        class_names: Names of the classes, in the order of the labels.
        sample_weight: Weight `(n,)` of each example in the loss, or of each pixel of masks.
        class_weight: Maps class numbers to weights; classes not listed have weight 1. Pass it here,
            because `fit` does not accept `class_weight` with a pipeline.
        drop_remainder: Whether to drop a smaller last batch of a pass in `fit`, `evaluate` and
            `predict`. `keras.distribution.DataParallel` needs it if that batch cannot be divided
            among the devices; with `shuffle`, each epoch drops other images.

    Returns:
        A `Pipeline`.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If images are not of rank 4 or not finite, lengths differ, labels do not match
            `class_names`, or an argument is out of range.

    Example:
        >>> import numpy as np, keras_dlcourse as kd
        >>> images = np.random.default_rng(0).integers(0, 256, (10, 28, 28, 1)).astype("uint8")
        >>> train = kd.data.pipeline(images, np.arange(10) % 2, batch_size=4, shuffle=True,
        ...                          normalization=kd.data.Normalization.fit(images))
        >>> train
        <Pipeline: 10 images of 28x28x1, shuffled with seed 0>
        >>> [x.shape for x, y in train]
        [(4, 28, 28, 1), (4, 28, 28, 1), (2, 28, 28, 1)]
    """
    return Pipeline(
        x,
        y,
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        normalization=normalization,
        class_names=class_names,
        sample_weight=sample_weight,
        class_weight=class_weight,
        drop_remainder=drop_remainder,
    )
