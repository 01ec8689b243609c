"""Batches for `fit` in an order that is a function of (seed, epoch) and of nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keras_dlcourse.data import checks
from keras_dlcourse.data.trainer import IS_ADAPTER, TrainerData
from keras_dlcourse.edge.description.labels import checked_class_names
from keras_dlcourse.edge.description.normalization import Normalization


class Pipeline(TrainerData):
    """Images and labels in batches, as `Model.fit`, `evaluate` and `predict` take them.

    Made by `keras_dlcourse.data.pipeline`, where the arguments are explained.

    **Order.** Only `fit` shuffles (if `shuffle`), anew each epoch: epoch `e` sees the examples in
    the order `pipeline.order(e)`, which is `numpy.random.default_rng((seed, e)).permutation(n)` cut
    into batches. Neither `keras.utils.set_random_seed` nor `fit(shuffle=...)` has a say in it.
    `evaluate` and `predict` go through the examples as they are stored, so that predictions line
    up with `pipeline.y`, and leave the order of training as it is.

    **Epoch.** `epoch` counts the epochs of `fit` that this pipeline has begun, one broken off
    included, over several calls of `fit`; so it is the number of the next one. Set it to train from
    a chosen epoch on, e.g. `pipeline.epoch = 5` before `fit(initial_epoch=5)`, or keep it with
    `state_dict`. With `fit(steps_per_epoch=...)` one pass over the data goes on over several
    epochs, in the order of the epoch in which it began.

    **Your own loop.** `for x, y in pipeline` gives the batches of epoch `pipeline.epoch` and
    changes nothing: set `epoch` yourself, or use `batches(epoch)`.

    Attributes:
        x: The images as given, `(n, height, width, channels)`.
        y: The labels, a dictionary of those of several tasks, or None.
        sample_weight: `(n,)` weights, those of the classes multiplied in, or None.
        normalization: The `Normalization` applied to each batch, or None.
        class_names: Tuple of names or None.
        batch_size: Images in a batch; the last of an epoch may be smaller.
        drop_remainder: Whether that last one is left out.
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
        self.class_names = None if class_names is None else checked_class_names(class_names)
        self.y = checks.labels(y, len(self.x), self.class_names)
        self.normalization = checks.normalization(normalization, self.x.shape[-1])
        self.sample_weight = checks.weights(sample_weight, class_weight, self.y, len(self.x))
        self.batch_size = checks.whole_number("batch_size", batch_size, least=1)
        self.shuffle, self.drop_remainder = bool(shuffle), bool(drop_remainder)
        if self.drop_remainder and self.examples < self.batch_size:
            raise ValueError(
                f"drop_remainder=True needs {self.batch_size} images or more, those of a batch. "
                f"Received: {self.examples}"
            )
        self._order = np.arange(self.examples)

    @property
    def examples(self) -> int:
        """Number of images; `len(pipeline)` is the number of batches."""
        return len(self.x)

    @property
    def rows(self) -> int:
        """Number of images in all batches of a pass."""
        return len(self) * self.batch_size if self.drop_remainder else self.examples

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image, as a model's `input_shape` takes them."""
        height, width, channels = self.x.shape[1:]
        return int(height), int(width), int(channels)

    def order(self, epoch: int | None = None) -> np.ndarray:
        """Tell which examples an epoch of `fit` sees, in which order.

        Args:
            epoch: Number of the epoch, the next one if None.

        Returns:
            `(n,)` indices into `x` and `y`: each once.
        """
        if not self.shuffle:
            return np.arange(self.examples)
        epoch = self.epoch if epoch is None else checks.whole_number("epoch", epoch, least=0)
        return np.random.default_rng((self.seed, epoch)).permutation(self.examples)

    def prepare(self, pixels: np.ndarray) -> np.ndarray:
        """Turn images like those of `x` into what the network sees: float32, normalised."""
        if self.normalization is None:
            return np.asarray(pixels, "float32")
        return np.asarray(self.normalization(pixels), "float32")

    def batches(self, epoch: int | None = None) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield the batches of an epoch (the next one if None); changes nothing."""
        return self._batches(self.order(epoch))

    # What Keras calls.

    def __len__(self) -> int:
        if self.drop_remainder:
            return self.examples // self.batch_size
        return math.ceil(self.examples / self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"batch {index} of a pipeline of {len(self)} batches")
        start = index % len(self) * self.batch_size
        # Keras asks here, within an epoch, only where it takes no adapter.
        order = self.order() if IS_ADAPTER else self._order
        return self._batch(order[start : start + self.batch_size])

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        return self.batches()

    def begin_pass(self, training: bool) -> None:
        """Set the order of the pass that begins, and count it if it is one of training."""
        self._order = self.order() if training else np.arange(self.examples)
        self.epoch += training

    def one_pass(self, first: int = 0) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield the batches of the pass that has begun when the first one is asked for.

        Keras makes one iterator too many at the end of each epoch; as it asks that one for nothing,
        no order is spent on it.

        Args:
            first: Number of the batch to begin with.
        """
        yield from self._batches(self._order[first * self.batch_size :])

    def _batches(self, order: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
        last = len(order) - (self.batch_size - 1 if self.drop_remainder else 0)
        for start in range(0, last, self.batch_size):
            yield self._batch(order[start : start + self.batch_size])

    def _batch(self, indices: np.ndarray) -> tuple[np.ndarray, ...]:
        beside = (self.y, self.sample_weight)
        parts = (rows_of(part, indices) for part in beside if part is not None)
        return (self.prepare(self.x[indices]), *parts)

    def __repr__(self) -> str:
        size = "x".join(map(str, self.image_shape))
        classes = f", {len(self.class_names)} classes" if self.class_names else ""
        order = f"shuffled with seed {self.seed}" if self.shuffle else "in stored order"
        return f"<Pipeline: {self.examples} images of {size}{classes}, {order}>"


def rebuilt(data: Pipeline, **changes: Any) -> Pipeline:
    """Return a pipeline with the arguments of another one, but for those that are given."""
    names = (
        *("x", "y", "batch_size", "shuffle", "seed", "drop_remainder"),
        *("normalization", "class_names", "sample_weight"),
    )
    return Pipeline(**{name: getattr(data, name) for name in names} | changes)


def rows_of(labels: Any, rows: Any) -> Any:
    """Return some rows of labels, or of those of each task."""
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
    """Make of images and labels what `Model.fit`, `evaluate` and `predict` take.

    Args:
        x: Images `(n, height, width, channels)`, uint8 or float, in pixel units 0..255 if there is
            a `normalization`; an array, or something that is read as it is used (`ImageFiles`).
        y: Labels `(n,)` as integers or `(n, classes)` one-hot; None if there are none. Integers
            come out as int32, floats as float32. Or a dictionary of the labels of several tasks,
            where NaN and class numbers below 0 mean that there is none.
        batch_size: Images in a batch; the last of an epoch may be smaller.
        shuffle: Whether `fit` sees another order each epoch. The order is a function of `seed` and
            the number of the epoch, see `Pipeline`.
        seed: Seed of the order, 0 or more.
        normalization: Applied to each batch, and carried along to the exported file.
        class_names: What the classes are called, in the order of the labels.
        sample_weight: Weight `(n,)` of each example in the loss.
        class_weight: Weight of each class by its number; 1 for those not named. `fit` takes
            no `class_weight` beside a pipeline.
        drop_remainder: Whether the last batch of a pass is left out where it is smaller, in `fit`,
            `evaluate` and `predict`. `keras.distribution.DataParallel` needs it where the devices
            cannot share that batch; with `shuffle` each epoch leaves out other images.

    Returns:
        A `Pipeline`.

    Raises:
        TypeError: If an argument is of a wrong kind.
        ValueError: If images are not of rank 4 or not finite, lengths differ, labels don't fit
            `class_names`, or a number is out of range.

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
