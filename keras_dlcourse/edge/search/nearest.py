"""The nearest rows of a gallery, exactly, in NumPy: the one place where searching is done.

Scores of all pairs come from float32 matrix products over blocks, and what is surely not among the
k best is dropped as soon as a block is computed, by one comparison with the k-th best score so far
less the rounding error of the product. The few pairs left are measured again in float64. So the
answer depends neither on the blocks nor on the BLAS library, and equal rows are equally far.
"""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import numpy as np

from keras_dlcourse.edge.search.vectors import SHORTEST, Vectors, checked_rows, lengths

METRICS = ("cosine", "euclidean", "dot")
MEMORY = 64 * 2**20
_QUERIES = 256  # at once: more make the matrix product no faster
_LEAST = 2**20
# Shares of the memory: a quarter for the scores of a block, and some 200 bytes a pair that may win.
_BYTES_A_SCORE, _BYTES_A_PAIR = 16, 1024
_SCORES = 2**21  # of a block, at most: they stay in the cache while they are sifted
_WORD = 8  # comparisons looked at in one go
_DECIMALS = 12  # of a cosine distance: what float64 keeps
_SPACE = 64  # groups of scores a result, to find a first bound


class Neighbours(NamedTuple):
    """What a search found, from the nearest on.

    Attributes:
        indices: Rows of the gallery, `(n, k)` int64.
        distances: `(n, k)` float32.
    """

    indices: np.ndarray
    distances: np.ndarray


def nearest(
    queries: Any, gallery: Any, k: int, *, metric: str = "cosine", memory: int = MEMORY
) -> Neighbours:
    """Find the k nearest rows of a gallery for each query, exactly.

    The distance is `1 - cosine`, `|q - g|`, or `-q·g`. It is computed in float64 and rounded to
    float32; of equal distances the lower index comes first. A vector shorter than 1e-15 has no
    direction: its cosine distance from all others is 1.

    Args:
        queries: Finite numbers `(n, dimension)`.
        gallery: Finite numbers `(rows, dimension)`, or `Vectors`, which keep the norms from one
            search to the next.
        k: How many to find. A gallery with fewer rows gives all that it has.
        metric: `"cosine"`, `"euclidean"` or `"dot"`.
        memory: Bytes to use besides the arguments and the result, at least a mebibyte.

    Returns:
        Indices and distances, both `(n, min(k, rows))`, from the nearest on.

    Raises:
        ValueError: If the gallery is empty, the dimensions differ, numbers are not finite, `k` is
            below 1, or the metric is unknown.
        TypeError: If `k` is no whole number.

    Example:
        >>> gallery = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
        >>> indices, distances = nearest([[2.0, 0.1]], gallery, k=2)
        >>> indices.tolist(), [f"{distance:.3f}" for distance in distances[0]]
        ([[0, 2]], ['0.001', '0.258'])
    """
    k, memory = checked_count("k", k), checked_count("memory", memory)
    metric = checked_metric(metric)
    if memory < _LEAST:
        raise ValueError(f"memory must be at least {_LEAST} bytes, got {memory}")
    vectors = gallery if isinstance(gallery, Vectors) else Vectors.over(gallery)
    if not len(vectors):
        raise ValueError("the gallery is empty, so nothing is near: add rows before searching")
    queries = checked_rows(queries, "queries", vectors.dimension)
    norms = lengths(queries, "queries")
    k = min(k, len(vectors))
    indices = np.empty((len(queries), k), np.int64)
    distances = np.empty((len(queries), k), np.float32)
    step = max(1, min(_QUERIES, memory // _BYTES_A_PAIR // (4 * k)))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        search = _Search(queries[part], norms[part], vectors, k, metric, memory)
        indices[part], distances[part] = search.run()
    return Neighbours(indices, distances)


def checked_count(name: str, value: Any) -> int:
    """Return a whole number of at least 1.

    Args:
        name: The argument, for the message.
        value: What came.

    Raises:
        TypeError: If it is no whole number.
        ValueError: If it is below 1.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {value!r}") from None
    if number < 1:
        raise ValueError(f"{name} must be 1 or more, got {number}")
    return number


def checked_metric(metric: Any) -> str:
    """Return the name of a distance.

    Args:
        metric: What came.

    Raises:
        ValueError: If there is no such distance.
    """
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(map(repr, METRICS))}, got {metric!r}")
    return str(metric)


class _Search:
    """Some queries on their way through the gallery, block by block."""

    def __init__(
        self,
        queries: np.ndarray,
        norms: np.ndarray,
        vectors: Vectors,
        k: int,
        metric: str,
        memory: int,
    ) -> None:
        self.queries, self.vectors, self.k, self.metric = queries, vectors, k, metric
        self.cells = min(memory // _BYTES_A_SCORE, _SCORES)
        self.pairs = memory // _BYTES_A_PAIR
        self.factors = queries
        if metric == "cosine":
            lengths = np.where(norms < SHORTEST, np.inf, norms)
            self.factors = queries / lengths[:, None]
        self.margin = self._margin(norms)
        self.best = np.full((len(queries), k), -np.inf, np.float32)  # scores, in no order
        self.bound = np.full(len(queries), -np.inf, np.float32)  # the least of them
        none = np.zeros(0, np.int64)
        self.kept = [(none, none, np.zeros(0, np.float32))]  # query, row and score of what may win
        self.count = 0

    def run(self) -> tuple[np.ndarray, np.ndarray]:
        step = max(1, self.cells // len(self.queries))
        rows = len(self.vectors)
        if self.vectors.dtype == "int8":  # decoded, so a block of rows should fit the cache
            step = min(step, max(1, self.cells // 2 // self.vectors.dimension))
        size = len(self.queries) * min(step, rows)
        buffer = np.empty(size, np.float32)
        self.mask = np.zeros(-(-size // _WORD) * _WORD, bool)
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            shape = len(self.queries), stop - start
            scores = buffer[: shape[0] * shape[1]].reshape(shape)
            self._score(start, stop, scores)
            self._sift(start, scores, 0, stop - start)
        query, index, _, distances = self._settle()
        shape = len(self.queries), self.k
        order = np.lexsort((index, distances, query))
        return index[order].reshape(shape), distances[order].reshape(shape)

    def _margin(self, norms: np.ndarray) -> np.ndarray:
        """Return twice the largest error of a score, for each query.

        A float32 sum of d products errs by at most d u |q| |g|, in whatever order it is taken; and
        codes with originals by |q| |g - g'|.
        """
        error = 2 * (self.vectors.dimension + 8) * np.finfo(np.float32).eps / 2
        largest = float(self.vectors.norms.max())
        size = {
            "cosine": np.ones(len(norms)),
            "dot": norms * largest,
            "euclidean": (norms + largest) * largest,
        }[self.metric]
        codes = norms * self.vectors.error
        if self.metric == "cosine":
            codes = np.full(len(norms), self.vectors.relative_error)
        return np.asarray(2 * (error * size + 1.001 * codes), np.float32)

    def _score(self, start: int, stop: int, scores: np.ndarray) -> None:
        """Fill in what is the larger the nearer: the cosine, q·g, or q·g - |g|²/2."""
        block = self.vectors.block(start, stop)
        if len(scores) == 1:  # a matrix-vector product reads the gallery once
            np.matmul(block, self.factors[0], out=scores[0])
        else:
            np.matmul(self.factors, block.T, out=scores)
        weights = self.vectors.weights(self.metric)
        if weights is not None:
            np.multiply(scores, weights[start:stop], out=scores)
        if self.metric == "euclidean":
            np.subtract(scores, self.vectors.offsets[start:stop], out=scores)

    def _sift(self, start: int, scores: np.ndarray, low: int, high: int) -> None:
        """Keep those scores in some columns of a block that may be among the best."""
        part = scores[:, low:high]
        if not self.count:
            self._raise_bound(part)
        words, many = self._above(part)
        if many:
            self._raise_bound(part)
            words, many = self._above(part)
        if many and part.size > len(part) * _WORD:  # all alike: fewer at a time
            middle = (low + high) // 2
            self._sift(start, scores, low, middle)
            self._sift(start, scores, middle, high)
        elif len(words):
            word, place = np.nonzero(self.mask.reshape(-1, _WORD)[words])
            query, column = np.divmod(words[word] * _WORD + place, high - low)
            values = part[query, column]
            self._merge(query, values)
            self.kept.append((query, column + (start + low), values))
            self.count += len(query)
            if self.count > max(self.pairs, 4 * self.best.size):
                self._settle()

    def _above(self, scores: np.ndarray) -> tuple[np.ndarray, bool]:
        """Return where the mask has words that are not all false, and whether these are many."""
        size = scores.size
        mask = self.mask[:size].reshape(scores.shape)
        np.greater_equal(scores, (self.bound - self.margin)[:, None], out=mask)
        end = -(-size // _WORD) * _WORD
        self.mask[size:end] = False
        words = np.flatnonzero(self.mask[:end].view(np.uint64))
        return words, len(words) * _WORD > 4 * self.best.size + self.pairs

    def _raise_bound(self, scores: np.ndarray) -> None:
        """Raise the bound by a look at the largest of each group: k of them are no less."""
        queries, rows = scores.shape
        groups = self.k * _SPACE
        if rows < self.k:
            return
        if rows < 4 * groups:
            largest = scores
        else:
            used = rows // groups * groups
            largest = scores[:, :used].reshape(queries, -1, groups).max(axis=1)
        kth = np.partition(largest, largest.shape[1] - self.k, axis=1)[:, -self.k]
        np.maximum(self.bound, kth, out=self.bound)

    def _merge(self, query: np.ndarray, values: np.ndarray) -> None:
        """Take scores, sorted by query, into the best ones and raise the bound to the k-th."""
        counts = np.bincount(query, minlength=len(self.best))
        touched = np.flatnonzero(counts)
        first = np.cumsum(counts) - counts
        line = np.searchsorted(touched, query)
        table = np.full((len(touched), self.k + int(counts.max())), -np.inf, np.float32)
        table[:, : self.k] = self.best[touched]
        table[line, self.k + np.arange(len(query)) - first[query]] = values
        table.partition(table.shape[1] - self.k, axis=1)
        self.best[touched] = table[:, -self.k :]
        self.bound[touched] = np.maximum(self.bound[touched], self.best[touched].min(axis=1))

    def _settle(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Measure all that is kept in float64, and keep the k nearest of each query."""
        query, index, values = map(np.concatenate, zip(*self.kept, strict=True))
        may_win = values >= (self.bound - self.margin)[query]
        query, index, values = query[may_win], index[may_win], values[may_win]
        distances = self._distances(query, index)
        order = np.lexsort((index, distances, query))
        counts = np.bincount(query, minlength=len(self.queries))
        rank = np.arange(len(order)) - (np.cumsum(counts) - counts)[query[order]]
        order = order[rank < self.k]
        query, index, values = query[order], index[order], values[order]
        self.kept, self.count = [(query, index, values)], len(order)
        return query, index, values, distances[order]

    def _distances(self, query: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Return the distances of pairs as float32, computed in float64."""
        result = np.empty(len(query), np.float32)
        step = max(1, 8 * self.pairs // self.vectors.dimension)
        for start in range(0, len(query), step):
            part = slice(start, start + step)
            one = self.queries[query[part]].astype(np.float64)
            other = self.vectors.exact_rows(index[part]).astype(np.float64)
            result[part] = pair_distances(one, other, self.metric)
        return result


def pair_distances(one: np.ndarray, other: np.ndarray, metric: str) -> np.ndarray:
    """Return the distance of each row from the row of the same number in another array.

    Args:
        one: Float64 `(n, dimension)`.
        other: Likewise.
        metric: As `nearest` takes it.
    """
    if metric == "euclidean":
        one = one - other
        return np.sqrt(np.einsum("ij,ij->i", one, one))
    products = np.einsum("ij,ij->i", one, other)
    if metric == "dot":
        return -products
    norms = [np.sqrt(np.einsum("ij,ij->i", rows, rows)) for rows in (one, other)]
    short = np.minimum(*norms) < SHORTEST
    cosine = np.where(short, 0, products / np.where(short, 1, norms[0] * norms[1]))
    return np.maximum(np.round(1 - cosine, _DECIMALS), 0)
