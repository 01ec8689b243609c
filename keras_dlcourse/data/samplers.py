"""Batches for metric learning: classes by images, pairs, and triplets."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_dlcourse._checks import check_integer, check_one_of
from keras_dlcourse.data.pipeline import Pipeline
from keras_dlcourse.data.trainer import TrainerData


class Sampler(TrainerData):
    """Base class of data that chooses for each epoch which examples form a batch.

    The choice of epoch `e` is a function of `(seed, e)` only, independent of other random number
    generators. `evaluate` and `predict` see that of epoch 0 and do not affect the training order.

    Args:
        data: A `kd.data.Pipeline` with integer labels, whose normalization is applied, or a tuple
            `(images, labels)`.
        batch_size: Number of rows per batch.
        seed: Seed of the choice, 0 or more.
        least: Minimum number of images per class.

    Attributes:
        data: The pipeline that is sampled from.
        epoch: Number of the next epoch of `fit`.
        classes: The labels that occur, sorted.
    """

    def __init__(self, data: Any, batch_size: int, seed: int, least: int = 2) -> None:
        super().__init__(seed)
        self.data = data if isinstance(data, Pipeline) else _pipeline(data)
        self.batch_size = check_integer("batch_size", batch_size)
        self._labels = _class_numbers(self.data.y)
        self.classes, numbers, counts = np.unique(
            self._labels, return_inverse=True, return_counts=True
        )
        if len(self.classes) < 2:
            raise ValueError(f"data must have two or more classes. Received: {len(self.classes)}")
        rare = np.flatnonzero(counts < least)
        if rare.size:
            raise ValueError(
                f"Each class needs {least} images or more. Class {self.classes[rare[0]]} has "
                f"{counts[rare[0]]}, and {rare.size - 1} others have too few. Remove these "
                "classes, or add images."
            )
        self._members = [np.flatnonzero(numbers == k) for k in range(len(self.classes))]
        self._numbers = numbers
        self._plan = self.plan(0)

    def plan(self, epoch: int) -> np.ndarray:
        """Return which images an epoch sees.

        Args:
            epoch: Number of the epoch, starting at 0.

        Returns:
            Indices into `data.x`, one row for each row of the batches, in order.
        """
        raise NotImplementedError

    @property
    def examples(self) -> int:
        """Number of images in the data."""
        return self.data.examples

    @property
    def rows(self) -> int:
        """Number of rows in all batches of one pass."""
        return len(self._plan)

    def __len__(self) -> int:
        return math.ceil(len(self._plan) / self.batch_size)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"batch {index} is out of range for a sampler of {len(self)} batches")
        start = index % len(self) * self.batch_size
        return self._batch(self._plan[start : start + self.batch_size])

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return (self[index] for index in range(len(self)))

    def begin_pass(self, training: bool) -> None:
        """Choose the batches of a new pass, and count it as an epoch if it is for training."""
        self._plan = self.plan(self.epoch if training else 0)
        self.epoch += training

    def one_pass(self, first: int = 0) -> Iterator[tuple[Any, ...]]:
        """Yield the batches of the current pass, starting with number `first`."""
        yield from (self[index] for index in range(first, len(self)))

    def _batch(self, indices: np.ndarray) -> tuple[Any, ...]:
        raise NotImplementedError

    def _images(self, indices: np.ndarray) -> np.ndarray:
        return self.data.prepare(self.data.x[indices])

    def _draw_others(self, anchors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw another image of the same class for each image."""
        found = np.empty_like(anchors)
        for k, members in enumerate(self._members):
            mine = np.flatnonzero(self._numbers[anchors] == k)
            place = np.searchsorted(members, anchors[mine])
            found[mine] = members[(place + rng.integers(1, len(members), len(mine))) % len(members)]
        return found

    def _draw_strangers(self, anchors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw an image of another class for each image, with equal probability for each class."""
        count = len(self._members)
        other = (self._numbers[anchors] + rng.integers(1, count, len(anchors))) % count
        sizes = np.array([len(members) for members in self._members])
        first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        return np.concatenate(self._members)[first[other] + rng.integers(0, sizes[other])]


class PKSampler(Sampler):
    """Batches of P classes with K images each, for losses that mine a batch.

    Each epoch sees every class, and the numbers of times that classes occur differ by at most one.
    An image is repeated only after all images of its class have been used, so a class with fewer
    than K images repeats some within a batch.

    Args:
        data: A `kd.data.Pipeline` with integer labels, whose normalization is applied, or a tuple
            `(images, labels)`.
        classes: P, the number of classes per batch, at least 2.
        images: K, the number of images per class, at least 2, since a single image has no positive.
        batches: Number of batches per epoch. None uses enough to see each image about once, and
            at least enough to see each class once.
        seed: Seed of the choice, 0 or more.

    Raises:
        TypeError: If a number is not an integer.
        ValueError: If a number is out of range, labels are not integers, or a class has only one
            image.

    Example:
        >>> images, labels = np.zeros((12, 8, 8, 1), "uint8"), np.arange(12) % 3
        >>> sampler = PKSampler((images, labels), classes=2, images=3)
        >>> [np.bincount(y, minlength=3).tolist() for x, y in sampler]
        [[3, 0, 3], [0, 3, 3]]

    Reference:
        Hermans, Beyer and Leibe (2017), In Defense of the Triplet Loss for Person
        Re-Identification, https://arxiv.org/abs/1703.07737
    """

    def __init__(
        self,
        data: Any,
        classes: int = 8,
        images: int = 4,
        batches: int | None = None,
        seed: int = 0,
    ) -> None:
        self.classes_per_batch = check_integer("classes", classes, least=2)
        self.images_per_class = check_integer("images", images, least=2)
        self._wanted = batches
        if batches is not None:
            check_integer("batches", batches)
        super().__init__(data, self.classes_per_batch * self.images_per_class, seed)

    def plan(self, epoch: int) -> np.ndarray:
        """Return which images an epoch sees, `(rows,)`; see `Sampler`."""
        p, k, count = self.classes_per_batch, self.images_per_class, len(self._members)
        if p > count:  # raised in `__init__`, which plans epoch 0
            raise ValueError(
                f"classes must be at most {count}, the number of classes in data. Received: {p}"
            )
        rng = np.random.default_rng((self.seed, epoch))
        batches = self._wanted or max(math.ceil(count / p), self.examples // (p * k))
        chosen = _choose_in_turn(count, p, batches, rng)
        needed = np.bincount(chosen.ravel(), minlength=count) * k
        queues = [
            np.concatenate([rng.permutation(m) for _ in range(math.ceil(n / len(m)))] or [m[:0]])
            for m, n in zip(self._members, needed, strict=True)
        ]
        taken = np.zeros(count, int)
        rows = []
        for number in chosen.ravel():
            rows.append(queues[number][taken[number] : taken[number] + k])
            taken[number] += k
        return np.concatenate(rows)

    def _batch(self, indices: np.ndarray) -> tuple[Any, ...]:
        return self._images(indices), self._labels[indices]


class PairSampler(Sampler):
    """Pairs of images, half of them of the same class, for a network with two branches.

    Each epoch sees every image once as the first of a pair.

    Args:
        data: A `kd.data.Pipeline` with integer labels, whose normalization is applied, or a tuple
            `(images, labels)`.
        batch_size: Number of pairs per batch; the last batch of an epoch may be smaller.
        seed: Seed of the choice, 0 or more.
        different: Label of a pair of different classes: 1 as in `kd.losses.ContrastiveLoss`, or 0
            for a similarity score.

    Raises:
        TypeError: If a number is not an integer.
        ValueError: If a number is out of range, labels are not integers, or a class has only one
            image.

    Example:
        >>> images, labels = np.zeros((6, 8, 8, 1), "uint8"), np.arange(6) % 3
        >>> (left, right), different = PairSampler((images, labels), batch_size=4)[0]
        >>> left.shape, right.shape, different.tolist()
        ((4, 8, 8, 1), (4, 8, 8, 1), [0, 1, 0, 1])
    """

    def __init__(self, data: Any, batch_size: int = 32, seed: int = 0, different: int = 1) -> None:
        self.different = check_one_of("different", different, (0, 1))
        super().__init__(data, batch_size, seed)

    def plan(self, epoch: int) -> np.ndarray:
        """Return which pairs an epoch sees, `(pairs, 2)`: same and different classes alternate."""
        rng = np.random.default_rng((self.seed, epoch))
        first = rng.permutation(self.examples)
        second = np.empty_like(first)
        second[::2] = self._draw_others(first[::2], rng)
        second[1::2] = self._draw_strangers(first[1::2], rng)
        return np.stack([first, second], axis=1)

    def _batch(self, indices: np.ndarray) -> tuple[Any, ...]:
        labels = self._labels[indices]
        unlike = labels[:, 0] != labels[:, 1]
        target = np.where(unlike, self.different, 1 - self.different).astype("int32")
        return (self._images(indices[:, 0]), self._images(indices[:, 1])), target


class TripletSampler(Sampler):
    """Triplets of an anchor, another image of its class, and an image of another class.

    Each epoch sees every image once as the anchor. Random triplets soon become too easy to learn
    from; `PKSampler` with `kd.losses.TripletLoss`, which mines the batch, finds harder ones.

    Args:
        data: A `kd.data.Pipeline` with integer labels, whose normalization is applied, or a tuple
            `(images, labels)`.
        batch_size: Number of triplets per batch; the last batch of an epoch may be smaller.
        seed: Seed of the choice, 0 or more.

    Raises:
        TypeError: If a number is not an integer.
        ValueError: If a number is out of range, labels are not integers, or a class has only one
            image.

    Example:
        >>> images, labels = np.zeros((6, 8, 8, 1), "uint8"), np.arange(6) % 3
        >>> (anchor, positive, negative), y = TripletSampler((images, labels), batch_size=4)[0]
        >>> anchor.shape, negative.shape, y.shape
        ((4, 8, 8, 1), (4, 8, 8, 1), (4,))
    """

    def __init__(self, data: Any, batch_size: int = 32, seed: int = 0) -> None:
        super().__init__(data, batch_size, seed)

    def plan(self, epoch: int) -> np.ndarray:
        """Return which triplets an epoch sees, `(triplets, 3)`: anchor, positive, negative."""
        rng = np.random.default_rng((self.seed, epoch))
        anchors = rng.permutation(self.examples)
        columns = [anchors, self._draw_others(anchors, rng), self._draw_strangers(anchors, rng)]
        return np.stack(columns, axis=1)

    def _batch(self, indices: np.ndarray) -> tuple[Any, ...]:
        """Return three images per row, and the anchor's class, which the loss ignores."""
        return tuple(self._images(column) for column in indices.T), self._labels[indices[:, 0]]


def _class_numbers(y: Any) -> np.ndarray:
    """Return a pipeline's labels as `(n,)` if they are one class number per image."""
    if isinstance(y, np.ndarray) and y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if isinstance(y, np.ndarray) and y.ndim == 1 and y.dtype.kind in "iu":
        return y
    found = f"{y.dtype} of {y.shape}" if isinstance(y, np.ndarray) else y and sorted(y)
    raise ValueError(
        f"data must have integer labels (n,) or (n, 1), one per image. Received: {found}"
    )


def _pipeline(data: Any) -> Pipeline:
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise TypeError(
            "data must be a kd.data.Pipeline with labels, or (images, labels). Received: "
            f"{type(data).__name__}"
        )
    return Pipeline(data[0], data[1])


def _choose_in_turn(count: int, size: int, batches: int, rng: np.random.Generator) -> np.ndarray:
    """Choose `size` distinct numbers below `count` for each batch, all equally often.

    Numbers are taken from a queue in random order. When it runs out within a batch, a new random
    queue begins, in which the numbers that the batch already contains come last.
    """
    line: list[int] = []
    chosen = np.empty((batches, size), int)
    for row in chosen:
        taken = line[:size]
        line = line[size:]
        if len(taken) < size:
            fresh = rng.permutation(count).tolist()
            line = [k for k in fresh if k not in taken] + [k for k in fresh if k in taken]
            missing = size - len(taken)
            taken, line = taken + line[:missing], line[missing:]
        row[:] = taken
    return chosen
