"""Batches of random crops of large images, each with a class that was drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_dlcourse._checks import check_integer
from keras_dlcourse.data.mask_labels import IGNORE, check_masks
from keras_dlcourse.data.pipeline import Pipeline
from keras_dlcourse.data.trainer import TrainerData


class ClassCrops(TrainerData):
    """Batches of random crops of images and masks, for `Model.fit`.

    For each crop, a class is drawn, all with the same probability, then an image that shows it, one
    of its pixels there, and a crop that contains that pixel. So rare classes are seen as often as
    frequent ones, and images may have any sizes. Evaluate on whole images, as in
    `kd.edge.Tiles`: the shares of classes in these crops are not those of the images.

    The crops of epoch `e` are a function of `(seed, e)` only, independent of other random number
    generators. `evaluate` and `predict` see those of epoch 0 and do not affect the training.

    Args:
        data: A `kd.data.Pipeline` with masks, whose normalization is applied; or a tuple of two
            sequences of the same length: images `(height, width, channels)` and masks `(height,
            width)`, of any sizes. Arrays from `numpy.load(mmap_mode="r")` are read only in part.
        size: Height and width of the crops, in pixels.
        batch_size: Number of crops per batch.
        batches: Number of batches per epoch. None uses as many crops as there are images.
        classes: The class numbers to draw from, such as all but the background. None uses all that
            occur.
        seed: Seed of all choices, 0 or more.

    Attributes:
        classes: The class numbers that are drawn from, sorted.
        epoch: Number of the next epoch of `fit`.

    Raises:
        TypeError: If an argument has a wrong type, or masks are not whole numbers.
        ValueError: If a number is out of range, an image is smaller than a crop, a mask has another
            size than its image, or a class does not occur.

    Example:
        >>> masks = np.zeros((5, 50, 60), "uint8")
        >>> masks[2, 40:44, 50:53] = 1  # rare and small
        >>> images = np.repeat(masks[..., None], 3, axis=-1)
        >>> crops = ClassCrops((images, masks), (16, 16), batch_size=4, classes=[1])
        >>> [(x.shape, bool((y == 1).any(axis=(1, 2)).all())) for x, y in crops]
        [((4, 16, 16, 3), True), ((4, 16, 16, 3), True)]
    """

    def __init__(
        self,
        data: Any,
        size: tuple[int, int],
        *,
        batch_size: int = 32,
        batches: int | None = None,
        classes: Sequence[int] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        self.data = data
        self._images, self._masks = _pair(data)
        height, width = size
        self.size = check_integer("size", height), check_integer("size", width)
        self.batch_size = check_integer("batch_size", batch_size)
        self._batches = math.ceil(len(self._masks) / self.batch_size)
        if batches is not None:
            self._batches = check_integer("batches", batches)
        shown = np.stack([self._find_classes(index) for index in range(len(self._masks))])
        self.classes = _choose_classes(classes, np.flatnonzero(shown.any(axis=0)))
        self._members = [np.flatnonzero(shown[:, number]) for number in self.classes]
        self._pass = 0  # epoch whose crops are current

    def _find_classes(self, index: int) -> np.ndarray:
        """Return which classes a mask shows, `(255,)` bool, and check its size."""
        mask = np.asarray(self._masks[index])
        check_masks(f"masks[{index}:{index + 1}]", mask[None])
        shape = mask.shape if isinstance(self.data, Pipeline) else self._images[index].shape[:-1]
        if shape != mask.shape:
            raise ValueError(
                "images must be (height, width, channels), as large as their masks. Received: "
                f"an image of {shape} and a mask of {mask.shape} at {index}"
            )
        if mask.shape[0] < self.size[0] or mask.shape[1] < self.size[1]:
            raise ValueError(
                f"size must be at most that of each image. Received: {self.size}, but image "
                f"{index} has {mask.shape}"
            )
        numbers = np.unique(mask)
        if numbers[0] < 0 or numbers[-1] > IGNORE:
            raise ValueError(
                f"masks must be class numbers from 0 to {IGNORE - 1}, or {IGNORE} for pixels "
                f"without a label. Received: {numbers[0]} to {numbers[-1]} in mask {index}"
            )
        return np.isin(np.arange(IGNORE), numbers)

    @property
    def examples(self) -> int:
        """Number of images in the data."""
        return len(self._masks)

    @property
    def rows(self) -> int:
        """Number of crops in all batches of one pass."""
        return self._batches * self.batch_size

    def __len__(self) -> int:
        return self._batches

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"batch {index} is out of range for {len(self)} batches of crops")
        start = index % len(self) * self.batch_size
        crops = [self._crop(self._pass, row) for row in range(start, start + self.batch_size)]
        x, y = (np.stack(part) for part in zip(*crops, strict=True))
        is_pipeline = isinstance(self.data, Pipeline)
        return self.data.prepare(x) if is_pipeline else x.astype("float32"), y.astype("int32")

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return (self[index] for index in range(len(self)))

    def begin_pass(self, training: bool) -> None:
        """Choose the crops of a new pass, and count it as an epoch if it is for training."""
        self._pass = self.epoch if training else 0
        self.epoch += training

    def one_pass(self, first: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the batches of the current pass, starting with number `first`."""
        yield from (self[index] for index in range(first, len(self)))

    def _crop(self, epoch: int, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the pixels and the mask of one crop of an epoch."""
        rng = np.random.default_rng((self.seed, epoch, row))
        which = rng.integers(len(self.classes))
        index = int(rng.choice(self._members[which]))
        mask = np.asarray(self._masks[index])
        pixel = rng.choice(np.flatnonzero(mask == self.classes[which]))
        place = []
        for at, side, crop in zip(divmod(pixel, mask.shape[1]), mask.shape, self.size, strict=True):
            first, last = max(0, at - crop + 1), min(at, side - crop)
            start = int(rng.integers(first, last + 1))
            place.append(slice(start, start + crop))
        return np.asarray(self._images[index][tuple(place)]), mask[tuple(place)]


def _pair(data: Any) -> tuple[Any, Any]:
    """Return images and masks, sequences of the same length."""
    if isinstance(data, Pipeline):
        images, masks = data.x, data.y
        check_masks("the labels of data", masks)
    elif (
        isinstance(data, tuple)
        and len(data) == 2
        and all(hasattr(part, "__len__") for part in data)
    ):
        images, masks = data
    else:
        raise TypeError(
            "data must be a kd.data.Pipeline with masks, or (images, masks). Received: "
            f"{type(data).__name__}"
        )
    if not len(images) == len(masks) > 0:
        raise ValueError(
            f"data must have a mask for each image. Received: {len(images)} images and "
            f"{len(masks)} masks"
        )
    return images, masks


def _has_length(part: Any) -> bool:
    return hasattr(part, "__len__") and not isinstance(part, str)


def _choose_classes(classes: Sequence[int] | None, present: np.ndarray) -> np.ndarray:
    if classes is None:
        if not len(present):
            raise ValueError(f"masks must have pixels with a label. Received: only {IGNORE}")
        return present
    chosen = np.unique([check_integer("classes", number, least=0) for number in classes])
    missing = np.setdiff1d(chosen, present)
    if missing.size or not chosen.size:
        raise ValueError(
            f"classes must be some of those in the masks, {present.tolist()}. Received: "
            f"{chosen.tolist()}"
        )
    return chosen
