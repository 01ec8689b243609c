"""Images that occur in two parts of a data set, as exact or near duplicates."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_dlcourse._checks import check_integer, check_number
from keras_dlcourse._progress import track
from keras_dlcourse.data.stream import count_batches, stream

_BITS = 8  # frequencies along each axis for the hash: 64 bits
_DETAIL = 16  # frequencies along each axis for comparing images with similar hashes
_ROWS = 256  # images compared with all others at a time: bounds the memory
_MOST_PAIRS = 1_000_000
_DISTANCE = 6
# Different gray images of one kind, such as digits or clothes, reach 0.994; their copies, even as
# JPEG of quality 60, have at least 0.995. In CIFAR-10, all pairs from 0.99 on are the same object.
_GRAY_LIKENESS, _COLOR_LIKENESS = 0.995, 0.99
_SHOWN = 5


class TooManyPairs(ValueError):
    """Raised if two parts have so many similar pairs that the pairs fill the memory."""


@dataclass(frozen=True)
class Leaks:
    """Images shared by two parts of a data set, as found by `find_leaks`. True if there are any.

    Attributes:
        train_size: Number of images in the first part.
        test_size: Number of images in the second part.
        exact: Pairs that are identical in every pixel, `(n, 2)`: index in train, index in test.
        similar: Pairs that look alike and are not in `exact`, `(n, 2)`.
        distances: Number of bits, of 64, in which the hashes of each pair in `similar` differ,
            `(n,)`.
    """

    train_size: int
    test_size: int
    exact: np.ndarray
    similar: np.ndarray
    distances: np.ndarray

    @property
    def train_indices(self) -> np.ndarray:
        """Sorted indices of the images of the first part that are in a pair."""
        return self._indices(0)

    @property
    def test_indices(self) -> np.ndarray:
        """Sorted indices of the images of the second part that are in a pair. Remove these."""
        return self._indices(1)

    def __bool__(self) -> bool:
        return bool(len(self.exact) or len(self.similar))

    def __str__(self) -> str:
        whole = f"the {self.test_size:,} test images"
        if not self:
            return (
                f"None of {whole} is identical or similar to one of the {self.train_size:,} "
                "training images."
            )
        leaked = len(self.test_indices)
        lines = [
            f"{leaked:,} of {whole} ({leaked / self.test_size:.1%}) are identical or similar to "
            f"one of the {self.train_size:,} training images."
        ]
        for pairs, told in ((self.exact, "Identical"), (self.similar, "Similar")):
            if len(pairs):
                shown = ", ".join(f"({one}, {other})" for one, other in pairs[:_SHOWN].tolist())
                more = f" and {len(pairs) - _SHOWN:,} more" if len(pairs) > _SHOWN else ""
                lines.append(f"{told} pairs (train, test): {shown}{more}.")
        lines.append(
            "A score on them measures memorization. Remove `test_indices` from the test part. If "
            "they are views of the same object, split with kd.data.split(groups=...)."
        )
        return "\n".join(lines)

    def _indices(self, column: int) -> np.ndarray:
        return np.unique(np.concatenate([self.exact, self.similar])[:, column])


def find_leaks(
    train: Any, test: Any, *, distance: int = _DISTANCE, likeness: float | None = None
) -> Leaks:
    """Find exact and near duplicates between two parts of a data set.

    Near duplicates are the same picture with another brightness, contrast, size or compression, or
    a little noise, or two shots in a row. A perceptual hash of 64 bits (pHash: the signs of low
    frequencies relative to their median) finds candidates. Many images with little detail share
    their hash, so candidates must also agree in 255 frequencies. Shifted, rotated or mirrored
    copies are not found.

    Args:
        train: Images `(n, height, width, channels)` in any form that `kd.data.take` accepts, such
            as an array, `ImageFiles`, or a part of a `Dataset`. Images are compared as stored,
            before normalization.
        test: Images like `train`; their size may differ.
        distance: Maximum number of bits, of 64, in which the hashes of near duplicates may differ;
            0 or more.
        likeness: Minimum cosine between the frequencies of near duplicates, -1 to 1. A lower value
            finds more distorted copies, and more different images that only look alike. None: 0.99,
            or 0.995 if all images are gray, such as digits, which look alike more easily.

    Returns:
        A `Leaks`; `print` it for a summary.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If images have another rank, an argument is out of range, or there are more than
            a million pairs.

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
    distance = check_integer("distance", distance, least=0)
    if likeness is not None:
        check_number("likeness", likeness, least=-1, most=1)
    return _compare(_Prints.of("train", train), _Prints.of("test", test), distance, likeness)


def compare_parts(
    parts: Mapping[str, Any],
) -> tuple[dict[tuple[str, str], Leaks | None], dict[str, list[bytes]]]:
    """Compare each part of a data set with those before it, reading each once.

    Args:
        parts: The parts by name, as `find_leaks` takes them.

    Returns:
        The leaks between two parts by their names, None if there are more than a million pairs; and
        a digest of each image of each part, the same for identical images.
    """
    prints = {name: _Prints.of(name, part) for name, part in parts.items()}
    leaks: dict[tuple[str, str], Leaks | None] = {}
    for known, asked in itertools.combinations(parts, 2):
        try:
            leaks[known, asked] = _compare(prints[known], prints[asked])
        except TooManyPairs:
            leaks[known, asked] = None
    return leaks, {name: found.digests for name, found in prints.items()}


def _compare(
    known: _Prints, asked: _Prints, distance: int = _DISTANCE, likeness: float | None = None
) -> Leaks:
    if likeness is None:
        likeness = _GRAY_LIKENESS if known.is_gray and asked.is_gray else _COLOR_LIKENESS
    exact = _find_same_digests(known.digests, asked.digests)
    pairs, distances = _find_near(known, asked, distance, likeness)
    is_new = ~np.isin(_keys(pairs, asked), _keys(exact, asked))
    return Leaks(len(known.digests), len(asked.digests), exact, pairs[is_new], distances[is_new])


@dataclass(frozen=True)
class _Prints:
    """Fingerprints of the images of one part.

    Attributes:
        digests: Digests of pixels and size.
        signs: `(n, 64)` float32: the perceptual hash as -1 and 1, so that the dot product of two
            hashes gives their distance.
        details: `(n, 255)` float32: low frequencies without the mean, normalized to length 1; 0 for
            flat images.
        is_gray: Whether no image has a color.
    """

    digests: list[bytes]
    signs: np.ndarray
    details: np.ndarray
    is_gray: bool

    @classmethod
    def of(cls, name: str, data: Any) -> _Prints:
        digests: list[bytes] = []
        signs, details, is_gray = [], [], True
        batches = track(stream(data, 256), count_batches(data, 256), f"Reading {name}")
        for _, images in batches:
            if images.ndim != 4:
                raise ValueError(
                    f"{name} must contain images (n, height, width, channels). Received: shape "
                    f"{images.shape}"
                )
            pixels = np.ascontiguousarray(images, "float32")
            digests.extend(map(_digest, images if images.dtype == np.uint8 else pixels))
            frequencies = _frequencies(pixels)
            signs.append(_signs(frequencies))
            details.append(_details(frequencies))
            is_gray = is_gray and bool((images == images[..., :1]).all())
        return cls(digests, np.concatenate(signs), np.concatenate(details), is_gray)


def _digest(image: np.ndarray) -> bytes:
    """Return the digest of an image of uint8 or float32, the same for the same numbers."""
    if image.dtype != np.uint8:
        with np.errstate(invalid="ignore"):  # NaN and large values are in no other type
            narrow = image.astype(np.uint8)
        image = narrow if (narrow == image).all() else image + 0.0  # -0.0 becomes 0.0
    return hashlib.blake2b(repr(image.shape).encode() + image.tobytes(), digest_size=16).digest()


def _frequencies(images: np.ndarray) -> np.ndarray:
    """Return the 16x16 lowest frequencies of the cosine transform of the images in gray."""
    channels = images.shape[-1]
    grey = images @ np.full(channels, 1 / channels, "float32")  # 10 times as fast as their mean
    rows, columns = (_cosines(length) for length in grey.shape[1:])
    return rows @ grey @ columns.T


def _cosines(length: int) -> np.ndarray:
    places = (np.arange(length) + 0.5) / length
    return np.cos(np.pi * np.arange(_DETAIL)[:, None] * places).astype("float32")


def _signs(frequencies: np.ndarray) -> np.ndarray:
    """Return 1 where a low frequency is above the median (without the mean), -1 elsewhere."""
    low = frequencies[:, :_BITS, :_BITS].reshape(len(frequencies), -1)
    above = low > np.median(low[:, 1:], axis=1, keepdims=True)
    return np.where(above, 1, -1).astype("float32")


def _details(frequencies: np.ndarray) -> np.ndarray:
    detail = frequencies.reshape(len(frequencies), -1)
    lengths = np.linalg.norm(detail[:, 1:], axis=1, keepdims=True)
    # Flat images leave only rounding errors, which would match anything.
    is_flat = lengths <= 1e-5 * np.abs(detail[:, :1])
    return np.where(is_flat, 0, detail[:, 1:] / np.where(is_flat, 1, lengths))


def _find_same_digests(known: list[bytes], asked: list[bytes]) -> np.ndarray:
    places: dict[bytes, list[int]] = {}
    for index, digest in enumerate(known):
        places.setdefault(digest, []).append(index)
    _check_count(sum(len(places.get(digest, ())) for digest in asked))
    found = [(index, row) for row, digest in enumerate(asked) for index in places.get(digest, ())]
    return np.array(found, int).reshape(-1, 2)


def _find_near(
    known: _Prints, asked: _Prints, distance: int, likeness: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs that look alike, and the distances between their hashes."""
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
    """Yield pairs with similar hashes, a few rows at a time: indices, rows, distances."""
    bits = known.shape[1]
    starts = range(0, len(asked), _ROWS)
    for start in track(starts, len(starts), "Comparing"):
        products = asked[start : start + _ROWS] @ known.T  # integers: exact in float32
        rows, indices = np.nonzero(products >= bits - 2 * distance)
        step = 1 << 16  # candidates at a time: there may be many more candidates than pairs
        for first in range(0, max(len(rows), 1), step):
            here = rows[first : first + step], indices[first : first + step]
            apart = ((bits - products[here]) / 2).astype(int)
            yield here[1], here[0] + start, apart


def _keys(pairs: np.ndarray, asked: _Prints) -> np.ndarray:
    """Return one integer key per pair."""
    return pairs[:, 0] * len(asked.digests) + pairs[:, 1]


def _check_count(count: int) -> None:
    if count > _MOST_PAIRS:
        raise TooManyPairs(
            f"train and test have more than {_MOST_PAIRS:,} pairs of images that look alike. Use a "
            "smaller distance or a likeness closer to 1, or remove repeated images first."
        )
