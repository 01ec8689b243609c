"""A searchable index of embeddings with keys and labels."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_dlcourse._checks import check_integer, check_one_of
from keras_dlcourse.edge.search.identification import check_labels
from keras_dlcourse.edge.search.nearest import (
    MEMORY,
    Neighbours,
    check_metric,
    nearest,
    pair_distances,
)
from keras_dlcourse.edge.search.vectors import Vectors, check_rows, lengths
from keras_dlcourse.retrieval.engines import (
    ENGINES,
    Engine,
    check_installed,
    make_engine,
    read_engine,
)
from keras_dlcourse.retrieval.index_file import InvalidIndex, read_index, write_index

_MORE = 2  # candidates per result from an approximate engine
_PAIRS = 1 << 22  # values in memory while candidates are measured


class Found(NamedTuple):
    """Result of `Index.search`, nearest first; all arrays have the shape `(n, k)`.

    Attributes:
        keys: Keys of the entries, an array of objects.
        labels: Labels of the entries, an array of objects.
        distances: Distances, float32.
        rows: Current positions of the entries in the index, int64.
    """

    keys: np.ndarray
    labels: np.ndarray
    distances: np.ndarray
    rows: np.ndarray


class Index:
    """A searchable gallery of embeddings.

    Distances are `1 - cosine`, `|q - g|`, or `-q·g`. Every engine returns the same distances, but
    an approximate one may miss some neighbors; `recall` measures how many.

    Args:
        metric: `"cosine"`, `"euclidean"` or `"dot"`.
        dtype: `"float32"`, or `"int8"` for a quarter of the memory; see `edge.Vectors`.
        engine: `"exact"`; or, for galleries with millions of entries, `"faiss"` or `"usearch"`,
            which keep their own copy (`pip install 'keras-dlcourse[retrieval]'`). They are built at
            the first search, and rebuilt after entries are removed.
        **options: For an approximate engine, `effort=64`: the number of entries that it examines
            per query; higher values find more neighbors. For faiss, `factory="HNSW32"`, a string
            for its `index_factory`; `effort` is its `efSearch` or `nprobe`.

    Attributes:
        keys: Keys of all entries, in order.
        labels: Labels of all entries, in order.

    Raises:
        ValueError: If an argument is not one of these values.
        ImportError: If the engine is not installed.

    Example:
        >>> index = Index()
        >>> index.add([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], labels=["cat", "dog", "both"])
        [0, 1, 2]
        >>> found = index.search([[3.0, 0.1]], k=2)
        >>> found.labels.tolist(), found.keys.tolist()
        ([['cat', 'both']], [[0, 2]])
        >>> index.remove([0])
        >>> index.search([[3.0, 0.1]], k=1).labels.tolist()
        [['both']]
    """

    def __init__(
        self, metric: str = "cosine", dtype: str = "float32", engine: str = "exact", **options: Any
    ) -> None:
        check_one_of("dtype", dtype, ("float32", "int8"))
        check_one_of("engine", engine, tuple(ENGINES))
        known = {"exact": (), "faiss": ("effort", "factory"), "usearch": ("effort",)}[engine]
        for name in options:
            if name not in known:
                takes = f"takes {' and '.join(known)}" if known else "takes no options"
                raise ValueError(f"engine {engine!r} {takes}. Received: {name}=.")
        check_installed(engine)
        if "effort" in options:
            options["effort"] = check_integer("effort", options["effort"])
        self.metric, self.dtype, self.engine, self.options = (
            check_metric(metric),
            dtype,
            engine,
            options,
        )
        self.keys: list[Any] = []
        self.labels: list[Any] = []
        self._rows: dict[Any, int] = {}
        self._next = 0
        self._vectors: Vectors | None = None
        self._built: Engine | None = None
        self._taken = 0  # number of rows in the engine

    def __len__(self) -> int:
        return len(self.keys)

    def __repr__(self) -> str:
        size = f"{len(self)} x {self.dimension}" if self.dimension else "empty"
        return f"Index({size}, {self.metric}, {self.dtype}, {self.engine})"

    @property
    def dimension(self) -> int | None:
        """Length of the embeddings; None before any are added."""
        return None if self._vectors is None else self._vectors.dimension

    @property
    def nbytes(self) -> int:
        """Size of the embeddings in bytes, without keys, labels and an engine's own copy."""
        return 0 if self._vectors is None else self._vectors.nbytes

    def add(
        self,
        embeddings: Any,
        labels: Sequence[Hashable] | None = None,
        keys: Sequence[Hashable] | None = None,
    ) -> list[Any]:
        """Add entries.

        Args:
            embeddings: Finite values `(n, dimension)`.
            labels: A string or number for each entry; None for no labels.
            keys: A unique string or integer for each entry; None numbers the entries.

        Returns:
            The keys.

        Raises:
            ValueError: If embeddings are not finite or have another dimension, if the number of
                labels or keys differs, or if a key exists already. Nothing is added then.
        """
        rows = check_rows(embeddings, "embeddings", self.dimension)
        lengths(rows, "embeddings")
        count = len(rows)
        labels = [None] * count if labels is None else check_labels(labels, count)
        _check_kinds("labels", labels, (str, int, float, type(None)))
        keys = self._make_keys(count) if keys is None else _check_keys(keys, count)
        taken = [key for key in keys if key in self._rows]
        if taken:
            raise ValueError(
                f"keys must be new; the index already has {', '.join(map(repr, taken[:5]))}. "
                "Remove those entries first."
            )
        if self._vectors is None:
            self._vectors = Vectors(rows, dtype=self.dtype)
        else:
            self._vectors.add(rows)
        self._rows |= {key: len(self) + place for place, key in enumerate(keys)}
        self.keys += keys
        self.labels += labels
        self._next = max([self._next, *(key + 1 for key in keys if isinstance(key, int))])
        return list(keys)

    def remove(self, keys: Sequence[Hashable]) -> None:
        """Remove entries.

        Args:
            keys: Keys of the entries.

        Raises:
            KeyError: If a key does not exist. Nothing is removed then.
        """
        keys = _as_list("keys", keys)
        missing = [key for key in keys if not isinstance(key, Hashable) or key not in self._rows]
        if missing:
            raise KeyError(f"the index has no key {', '.join(map(repr, missing[:5]))}.")
        gone = {self._rows[key] for key in keys}
        if not gone or self._vectors is None:
            return
        self._vectors.remove(sorted(gone))
        self.keys = [key for row, key in enumerate(self.keys) if row not in gone]
        self.labels = [label for row, label in enumerate(self.labels) if row not in gone]
        self._rows = {key: row for row, key in enumerate(self.keys)}
        self._built, self._taken = None, 0

    def embeddings(self, keys: Sequence[Hashable] | None = None) -> np.ndarray:
        """Return the stored embeddings, `(n, dimension)` float32.

        Args:
            keys: Keys of the entries; None for all.

        Raises:
            KeyError: If a key does not exist.
        """
        if self._vectors is None:
            raise ValueError("the index is empty. Add embeddings first.")
        if keys is None:
            return self._vectors.rows()
        return self._vectors.rows([self._rows[key] for key in _as_list("keys", keys)])

    def search(self, queries: Any, k: int = 10, *, memory: int = MEMORY) -> Found:
        """Find the k nearest entries of each query.

        Args:
            queries: Finite values `(n, dimension)`.
            k: Number of entries; an index with fewer entries returns all of them.
            memory: Memory limit of the exact search, in bytes.

        Raises:
            ValueError: If the index is empty, `k` is below 1, or queries are not finite or have
                another dimension.
        """
        k = check_integer("k", k)
        vectors = self._require_vectors()
        found = self._propose(queries, k, memory) if self.engine != "exact" else None
        if found is None:
            found = nearest(queries, vectors, k, metric=self.metric, memory=memory)
        keys, labels = (_objects(values)[found.indices] for values in (self.keys, self.labels))
        return Found(keys, labels, found.distances, found.indices)

    def recall(self, queries: Any, k: int = 10, *, embeddings: Any = None) -> float:
        """Measure the fraction of the k true nearest neighbors that `search` finds.

        Args:
            queries: Typical queries, `(n, dimension)`.
            k: Number of neighbors.
            embeddings: The original embeddings of all entries, before conversion to int8, in the
                order of `keys`. None compares with an exact search of the stored embeddings.

        Returns:
            A fraction from 0 to 1; entries at the same distance as the k-th count as found.

        Raises:
            ValueError: As for `search`, or if there is not one embedding per entry.
        """
        truth: Any = self._require_vectors()
        if embeddings is not None:
            truth = check_rows(embeddings, "embeddings", self.dimension)
            if len(truth) != len(self):
                raise ValueError(
                    f"embeddings must hold one row for each of the {len(self)} entries. Received: "
                    f"{len(truth)}."
                )
        found = self.search(queries, k).rows
        if not len(found):
            raise ValueError("queries must hold at least one row.")
        exact = nearest(queries, truth, k, metric=self.metric)
        rows = truth.rows if isinstance(truth, Vectors) else truth.__getitem__
        asked = check_rows(queries, "queries").astype("float64")
        right = 0
        for query, row, limit in zip(asked, found, exact.distances[:, -1], strict=True):
            there = rows(row).astype("float64")
            far = pair_distances(np.broadcast_to(query, there.shape), there, self.metric)
            right += int((far.astype("float32") <= limit).sum())
        return right / found.size

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the index to one file, including a built approximate engine.

        Args:
            path: The file; an existing file stays intact until the new one is complete.

        Raises:
            ValueError: If the index is empty.
        """
        vectors = self._require_vectors()
        about = {
            "metric": self.metric,
            "dtype": self.dtype,
            "engine": self.engine,
            "options": self.options,
            "keys": self.keys,
            "labels": self.labels,
            "next": self._next,
        }
        arrays = vectors.arrays()
        if self.engine != "exact":
            arrays["engine"] = self._engine().to_bytes()
        write_index(path, about, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Index:
        """Load an index that was saved by `save`.

        Args:
            path: The file.

        Raises:
            InvalidIndex: If the file is not an index or is damaged.
            ImportError: If its engine is not installed.
        """
        about, arrays = read_index(path)
        try:
            index = cls(about["metric"], about["dtype"], about["engine"], **about["options"])
            engine = arrays.pop("engine", None)
            vectors = Vectors.from_arrays(arrays)
            index.keys = _check_keys(about["keys"], len(vectors))
            index.labels = check_labels(about["labels"], len(vectors))
            index._next = check_integer("next", about["next"], 0)
            if vectors.dtype != index.dtype:
                raise ValueError(
                    f"dtype must be {vectors.dtype}, as the stored rows are. "
                    f"Received: {index.dtype}."
                )
            if engine is not None:
                index._built = read_engine(
                    index.engine, engine, vectors.dimension, index.metric, index.options
                )
                index._taken = len(vectors)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise InvalidIndex(f"{str(path)!r} cannot be read: {error}") from error
        index._vectors = vectors
        index._rows = {key: row for row, key in enumerate(index.keys)}
        return index

    def _require_vectors(self) -> Vectors:
        if self._vectors is None or not len(self):
            raise ValueError("the index is empty. Add embeddings before searching or saving it.")
        return self._vectors

    def _make_keys(self, count: int) -> list[Any]:
        return list(range(self._next, self._next + count))

    def _engine(self) -> Engine:
        """Return the engine with all rows added."""
        vectors = self._require_vectors()
        if self._built is None:
            self._built = make_engine(self.engine, vectors.dimension, self.metric, self.options)
        if self._taken < len(vectors):
            self._built.add(vectors.rows(np.arange(self._taken, len(vectors))))
            self._taken = len(vectors)
        return self._built

    def _propose(self, queries: Any, k: int, memory: int) -> Neighbours:
        """Measure the engine's candidates; if there are too few, search exactly."""
        vectors = self._require_vectors()
        queries = check_rows(queries, "queries", vectors.dimension)
        lengths(queries, "queries")
        k = min(k, len(vectors))
        proposed = self._engine().propose(queries, min(_MORE * k, len(vectors)))
        indices = np.empty((len(queries), k), np.int64)
        distances = np.empty((len(queries), k), np.float32)
        step = max(1, _PAIRS // (proposed.shape[1] * vectors.dimension))
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            indices[part], distances[part] = self._measure(queries[part], proposed[part], k)
        few = np.flatnonzero((proposed >= 0).sum(axis=1) < k)
        if few.size:
            found = nearest(queries[few], vectors, k, metric=self.metric, memory=memory)
            indices[few], distances[few] = found
        return Neighbours(indices, distances)

    def _measure(
        self, queries: np.ndarray, proposed: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the k nearest of the candidate rows of each query."""
        count = proposed.shape[1]
        one = np.repeat(queries.astype("float64"), count, axis=0)
        other = self._require_vectors().rows(np.maximum(proposed.ravel(), 0)).astype("float64")
        far = pair_distances(one, other, self.metric).astype(np.float32).reshape(-1, count)
        far[proposed < 0] = np.inf
        order = np.lexsort((proposed, far), axis=1)[:, :k]
        return np.take_along_axis(proposed, order, 1), np.take_along_axis(far, order, 1)


def _as_list(name: str, values: Any) -> list[Any]:
    if isinstance(values, str) or not hasattr(values, "__iter__"):
        raise TypeError(f"{name} must be a list. Received: {values!r}.")
    values = values.tolist() if isinstance(values, np.ndarray) else list(values)
    return [value.item() if isinstance(value, np.generic) else value for value in values]


def _check_keys(keys: Any, count: int) -> list[Any]:
    values = _as_list("keys", keys)
    if len(values) != count:
        raise ValueError(f"keys must be one for each of the {count} rows. Received: {len(values)}.")
    _check_kinds("keys", values, (str, int))
    if len(set(values)) != count:
        repeated = next(value for value in values if values.count(value) > 1)
        raise ValueError(f"keys must be unique. Received: {repeated!r} more than once.")
    return values


def _check_kinds(name: str, values: Sequence[Any], kinds: tuple[type, ...]) -> None:
    """Raise for values that a file could not restore unchanged."""
    for value in values:
        if not isinstance(value, kinds) or value != value:
            raise TypeError(f"{name} must be strings or numbers. Received: {value!r}.")


def _objects(values: list[Any]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array
