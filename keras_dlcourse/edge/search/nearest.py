"""Exact nearest-neighbor search in NumPy, the only search implementation of the package.

Scores of all pairs come from float32 matrix products over blocks. As soon as a block is computed,
pairs that cannot be among the k best are dropped by comparison with the k-th best score so far
minus the rounding error of the product. Distances of the few remaining pairs are recomputed in
float64. The result therefore depends neither on the blocks nor on the BLAS library, and equal rows
have equal distances.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from keras_dlcourse._checks import check_integer, check_one_of
from keras_dlcourse.edge.search.vectors import SHORTEST, Vectors, check_rows, lengths

METRICS = ("cosine", "euclidean", "dot")
MEMORY = 64 * 2**20
_QUERIES = 256  # per block; more do not make the matrix product faster
_LEAST = 2**20
# Memory budget: a quarter for the scores of a block, and about 200 bytes per candidate pair.
_BYTES_A_SCORE, _BYTES_A_PAIR = 16, 1024
_SCORES = 2**21  # maximum per block, so that they stay in the cache while being filtered
_WORD = 8  # comparisons tested at once
_DECIMALS = 12  # of a cosine distance: the precision of float64
_SPACE = 64  # groups of scores per result, to find an initial bound


class Neighbours(NamedTuple):
    """Result of a search, nearest first.

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
    float32; ties are ordered by index. A vector shorter than 1e-15 has no direction, so its cosine
    distance to all others is 1.

    Args:
        queries: Finite values `(n, dimension)`.
        gallery: Finite values `(rows, dimension)`, or `Vectors`, which cache the norms between
            searches.
        k: Number of rows to find; all rows if the gallery has fewer.
        metric: `"cosine"`, `"euclidean"` or `"dot"`.
        memory: Bytes to use besides the arguments and the result, at least one mebibyte.

    Returns:
        Indices and distances, both `(n, min(k, rows))`, nearest first.

    Raises:
        ValueError: If the gallery is empty, the dimensions differ, values are not finite, `k` is
            below 1, `memory` is too small, or the metric is unknown.
        TypeError: If `k` or `memory` is not an integer, or `metric` not a string.

    Example:
        >>> gallery = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
        >>> indices, distances = nearest([[2.0, 0.1]], gallery, k=2)
        >>> indices.tolist(), [f"{distance:.3f}" for distance in distances[0]]
        ([[0, 2]], ['0.001', '0.258'])
    """
    k, memory = check_integer("k", k), check_integer("memory", memory, least=_LEAST)
    metric = check_metric(metric)
    vectors = gallery if isinstance(gallery, Vectors) else Vectors.over(gallery)
    if not len(vectors):
        raise ValueError("the gallery is empty. Add rows before searching.")
    queries = check_rows(queries, "queries", vectors.dimension)
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


def check_metric(metric: Any) -> str:
    """Validate the name of a metric.

    Args:
        metric: Name of the metric.

    Raises:
        TypeError: If it is not a string.
        ValueError: If there is no such metric.
    """
    return str(check_one_of("metric", metric, METRICS))


class _Search:
    """A search of some queries through the gallery, block by block."""

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
        self.best = np.full((len(queries), k), -np.inf, np.float32)  # scores, unordered
        self.bound = np.full(len(queries), -np.inf, np.float32)  # the least of them
        none = np.zeros(0, np.int64)
        self.kept = [(none, none, np.zeros(0, np.float32))]  # query, row and score of candidates
        self.count = 0

    def run(self) -> tuple[np.ndarray, np.ndarray]:
        step = max(1, self.cells // len(self.queries))
        rows = len(self.vectors)
        if self.vectors.dtype == "int8":  # decoded, so a block of rows should fit in the cache
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

        A float32 sum of d products has an error of at most d u |q| |g|, in any order of summation;
        codes with originals add |q| |g - g'|.
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
        """Fill in scores, which increase with proximity: the cosine, q·g, or q·g - |g|²/2."""
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
        """Keep the scores in some columns of a block that may be among the best."""
        part = scores[:, low:high]
        if not self.count:
            self._raise_bound(part)
        words, many = self._find_above(part)
        if many:
            self._raise_bound(part)
            words, many = self._find_above(part)
        if many and part.size > len(part) * _WORD:  # nearly equal scores: split the block
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

    def _find_above(self, scores: np.ndarray) -> tuple[np.ndarray, bool]:
        """Return the words of the mask with any true value, and whether there are too many."""
        size = scores.size
        mask = self.mask[:size].reshape(scores.shape)
        np.greater_equal(scores, (self.bound - self.margin)[:, None], out=mask)
        end = -(-size // _WORD) * _WORD
        self.mask[size:end] = False
        words = np.flatnonzero(self.mask[:end].view(np.uint64))
        return words, len(words) * _WORD > 4 * self.best.size + self.pairs

    def _raise_bound(self, scores: np.ndarray) -> None:
        """Raise the bound to the k-th largest of the group maxima; k scores are no less."""
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
        """Merge scores, sorted by query, into the best ones and raise the bound to the k-th."""
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
        """Compute distances of all candidates in float64, and keep the k nearest of each query."""
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
    """Return the distance of each row to the row with the same index in another array.

    Args:
        one: Float64 `(n, dimension)`.
        other: Float64 `(n, dimension)`.
        metric: See `nearest`.
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
