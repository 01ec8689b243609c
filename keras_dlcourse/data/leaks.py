"""Images that stand in two parts of a data set, pixel for pixel or nearly so."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_dlcourse._progress import track
from keras_dlcourse.data import checks
from keras_dlcourse.data.stream import count_batches, stream

_BITS = 8  # frequencies along each axis that make the hash: 64 bits
_DETAIL = 16  # and those by which two images of like hashes are compared
_ROWS = 256  # images compared at a time with all others: bounds the memory
_MOST_PAIRS = 1_000_000
_SHOWN = 5


@dataclass(frozen=True)
class Leaks:
    """What two parts of a data set share, as `find_leaks` finds it; true if there is anything.

    Attributes:
        train_size: Images in the first part.
        test_size: Images in the second part.
        exact: Pairs that are alike pixel for pixel, `(n, 2)`: index in train, index in test.
        similar: Pairs that look alike and are not in `exact`, `(n, 2)`.
        distances: In how many of 64 bits the hashes of each pair in `similar` differ, `(n,)`.
    """

    train_size: int
    test_size: int
    exact: np.ndarray
    similar: np.ndarray
    distances: np.ndarray

    @property
    def train_indices(self) -> np.ndarray:
        """Images of the first part that are in a pair, sorted."""
        return self._indices(0)

    @property
    def test_indices(self) -> np.ndarray:
        """Images of the second part that are in a pair, sorted: without these it is clean."""
        return self._indices(1)

    def __bool__(self) -> bool:
        return bool(len(self.exact) or len(self.similar))

    def __str__(self) -> str:
        whole = f"the {self.test_size:,} test images"
        if not self:
            return f"None of {whole} is, or looks like, one of {self.train_size:,} for training."
        leaked = len(self.test_indices)
        lines = [
            f"{leaked:,} of {whole} ({leaked / self.test_size:.1%}) are, or look like, one of "
            f"{self.train_size:,} for training."
        ]
        for pairs, told in ((self.exact, "are the same"), (self.similar, "look alike")):
            if len(pairs):
                shown = ", ".join(f"({one}, {other})" for one, other in pairs[:_SHOWN].tolist())
                more = f" and {len(pairs) - _SHOWN:,} more" if len(pairs) > _SHOWN else ""
                lines.append(f"Pairs (train, test) that {told}: {shown}{more}.")
        lines.append(
            "A score on them shows memory. Leave `test_indices` out of the test part; if they are "
            "views of one thing, split by kd.data.split(groups=...)."
        )
        return "\n".join(lines)

    def _indices(self, column: int) -> np.ndarray:
        return np.unique(np.concatenate([self.exact, self.similar])[:, column])


def find_leaks(train: Any, test: Any, *, distance: int = 6, likeness: float = 0.99) -> Leaks:
    """Find the images of one part that stand in another one too: exact copies and near ones.

    Near ones are the same picture in another brightness, contrast, size or compression, with a
    little noise, or two shots in a row. A perceptual hash of 64 bits (pHash: the signs of low
    frequencies about their median) finds candidates. Of images with little detail, many share
    their hash, so a candidate must also agree in 255 frequencies. A shift, a turn or a mirrored
    copy is not found.

    Args:
        train: Images `(n, height, width, channels)` in anything that `kd.data.take` takes, such as
            an array, `ImageFiles`, or a part of a `Dataset`; images as they are stored count.
        test: The same; another size of image is allowed.
        distance: In how many of 64 bits the hashes of near copies may differ; 0 or more.
        likeness: The least cosine between the frequencies of near copies, -1 to 1. A lower one
            finds more distorted copies and more that only look alike.

    Returns:
        A `Leaks`; `print` it.

    Raises:
        TypeError: If an argument is of another kind.
        ValueError: If images have another rank, a number is out of range, or there are over a
            million pairs.

    Example:
        >>> import numpy as np, keras_dlcourse as kd
        >>> images = np.random.default_rng(0).integers(0, 200, (50, 16, 16, 3)).astype("uint8")
        >>> test = np.concatenate([images[40:], images[7:8], images[9:10] + 20])
        >>> leaks = kd.data.find_leaks(images[:40], test)
        >>> leaks.exact.tolist(), leaks.similar.tolist()
        ([[7, 10]], [[9, 11]])

    Reference:
        Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010 (pHash);
        Barz and Denzler, "Do We Train on Test Data? Purging CIFAR of Near-Duplicates", J. Imaging
        2020, https://arxiv.org/abs/1902.00423
    """
    distance = checks.whole_number("distance", distance, least=0)
    if not -1 <= likeness <= 1:
        raise ValueError(f"likeness must be from -1 to 1, got {likeness!r}.")
    known, asked = _Prints.of("train", train), _Prints.of("test", test)
    exact = _same_digests(known.digests, asked.digests)
    pairs, distances = _near(known, asked, distance, likeness)
    is_new = ~np.isin(_keys(pairs, asked), _keys(exact, asked))
    return Leaks(len(known.digests), len(asked.digests), exact, pairs[is_new], distances[is_new])


@dataclass(frozen=True)
class _Prints:
    """What is kept of each image of a part.

    Attributes:
        digests: Of pixels and size.
        signs: `(n, 64)` float32: the perceptual hash as -1 and 1, so that a product of two tells
            their distance.
        details: `(n, 255)` float32: low frequencies but the mean, of length 1; 0 for flat images.
    """

    digests: list[bytes]
    signs: np.ndarray
    details: np.ndarray

    @classmethod
    def of(cls, name: str, data: Any) -> _Prints:
        digests: list[bytes] = []
        signs, details = [], []
        batches = track(stream(data, 256), count_batches(data, 256), f"Looking at {name}")
        for _, images in batches:
            if images.ndim != 4:
                raise ValueError(
                    f"{name} must hold images (n, height, width, channels), got {images.shape}."
                )
            pixels = np.ascontiguousarray(images, "float32") + 0.0  # -0.0 becomes 0.0
            digests.extend(_digest(image) for image in pixels)
            frequencies = _frequencies(pixels)
            signs.append(_signs(frequencies))
            details.append(_details(frequencies))
        return cls(digests, np.concatenate(signs), np.concatenate(details))


def _digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(repr(image.shape).encode() + image.tobytes(), digest_size=16).digest()


def _frequencies(images: np.ndarray) -> np.ndarray:
    """Return the 16x16 lowest frequencies of the cosine transform of grey images."""
    grey = images.mean(axis=3)
    rows, columns = (_cosines(length) for length in grey.shape[1:])
    return rows @ grey @ columns.T


def _cosines(length: int) -> np.ndarray:
    places = (np.arange(length) + 0.5) / length
    return np.cos(np.pi * np.arange(_DETAIL)[:, None] * places).astype("float32")


def _signs(frequencies: np.ndarray) -> np.ndarray:
    """Return which of the lowest frequencies are above their median; the mean is not counted."""
    low = frequencies[:, :_BITS, :_BITS].reshape(len(frequencies), -1)
    above = low > np.median(low[:, 1:], axis=1, keepdims=True)
    return np.where(above, 1, -1).astype("float32")


def _details(frequencies: np.ndarray) -> np.ndarray:
    detail = frequencies.reshape(len(frequencies), -1)
    lengths = np.linalg.norm(detail[:, 1:], axis=1, keepdims=True)
    # Of a flat image, rounding alone is left, which is like anything.
    is_flat = lengths <= 1e-5 * np.abs(detail[:, :1])
    return np.where(is_flat, 0, detail[:, 1:] / np.where(is_flat, 1, lengths))


def _same_digests(known: list[bytes], asked: list[bytes]) -> np.ndarray:
    places: dict[bytes, list[int]] = {}
    for index, digest in enumerate(known):
        places.setdefault(digest, []).append(index)
    _check_count(sum(len(places.get(digest, ())) for digest in asked))
    found = [(index, row) for row, digest in enumerate(asked) for index in places.get(digest, ())]
    return np.array(found, int).reshape(-1, 2)


def _near(
    known: _Prints, asked: _Prints, distance: int, likeness: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs that look alike, and how far apart their hashes are."""
    pairs, distances, count = [], [], 0
    for indices, rows, bits in _candidates(known.signs, asked.signs, distance):
        cosines = np.einsum("ij,ij->i", known.details[indices], asked.details[rows])
        alike = cosines >= likeness
        pairs.append(np.stack([indices[alike], rows[alike]], axis=1))
        distances.append(bits[alike])
        count += int(alike.sum())
        _check_count(count)
    return np.concatenate(pairs), np.concatenate(distances)


def _candidates(
    known: np.ndarray, asked: np.ndarray, distance: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield pairs whose hashes are near, for a few rows at a time: indices, rows, distances."""
    bits = known.shape[1]
    starts = range(0, len(asked), _ROWS)
    for start in track(starts, len(starts), "Comparing"):
        products = asked[start : start + _ROWS] @ known.T  # whole numbers: exact in float32
        rows, indices = np.nonzero(products >= bits - 2 * distance)
        step = 1 << 16  # of candidates, there may be many more than of pairs
        for first in range(0, max(len(rows), 1), step):
            here = rows[first : first + step], indices[first : first + step]
            apart = ((bits - products[here]) / 2).astype(int)
            yield here[1], here[0] + start, apart


def _keys(pairs: np.ndarray, asked: _Prints) -> np.ndarray:
    """Return one number for each pair."""
    return pairs[:, 0] * len(asked.digests) + pairs[:, 1]


def _check_count(count: int) -> None:
    if count > _MOST_PAIRS:
        raise ValueError(
            f"train and test share over {_MOST_PAIRS:,} pairs of images that look alike: take a "
            "smaller distance or a likeness nearer to 1, or leave repeated images out first."
        )
