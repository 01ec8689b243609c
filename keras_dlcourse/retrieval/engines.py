"""Approximate search for large galleries, by faiss or usearch, where these are installed.

An engine only proposes rows; their distances are measured on the gallery itself, so that every
engine answers with the same numbers.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from keras_dlcourse._extras import require
from keras_dlcourse.edge.search.vectors import SHORTEST

ENGINES = ("exact", "faiss", "usearch")


class Engine(Protocol):
    """Proposes rows that may be near."""

    def add(self, rows: np.ndarray) -> None:
        """Take in float32 rows, numbered onwards from those before."""

    def propose(self, queries: np.ndarray, count: int) -> np.ndarray:
        """Return row numbers `(n, count)` int64 that may be near; -1 where none was found."""

    def to_bytes(self) -> np.ndarray:
        """Return all of it as bytes `(size,)` uint8."""


def check_installed(name: str) -> None:
    """Raise an ImportError that names the pip command if an engine is not installed."""
    if name != "exact":
        require(f"kd.retrieval.Index(engine={name!r})", "retrieval", name)


def make_engine(name: str, dimension: int, metric: str, options: dict[str, Any]) -> Engine:
    """Return an empty engine.

    Args:
        name: `"faiss"` or `"usearch"`.
        dimension: Length of a row.
        metric: `"cosine"`, `"euclidean"` or `"dot"`.
        options: `effort`, and `factory` for faiss.

    Raises:
        ImportError: If it is not installed.
    """
    check_installed(name)
    kind = {"faiss": _Faiss, "usearch": _Usearch}[name]
    return kind(dimension, metric, **options)


def read_engine(
    name: str, content: np.ndarray, dimension: int, metric: str, options: dict[str, Any]
) -> Engine:
    """Return the engine that `to_bytes` was called on."""
    engine: Any = make_engine(name, dimension, metric, options)
    engine.read(content)
    return engine


class _Faiss:
    """An index of faiss, as its factory makes it."""

    def __init__(
        self, dimension: int, metric: str, effort: int = 64, factory: str = "HNSW32"
    ) -> None:
        import faiss

        self._faiss, self._cosine, self._effort = faiss, metric == "cosine", effort
        kind = faiss.METRIC_L2 if metric == "euclidean" else faiss.METRIC_INNER_PRODUCT
        try:
            self._index = faiss.index_factory(dimension, factory, kind)
        except RuntimeError as error:
            raise ValueError(
                f"factory {factory!r} is nothing that faiss.index_factory makes: {error}"
            ) from None
        self._knob = next((k for f, k in _KNOBS.items() if f in factory), None)

    def add(self, rows: np.ndarray) -> None:
        rows = _unit(rows) if self._cosine else rows
        if not self._index.is_trained:
            self._index.train(rows)
        self._index.add(rows)

    def propose(self, queries: np.ndarray, count: int) -> np.ndarray:
        if self._knob:
            space = self._faiss.ParameterSpace()
            space.set_index_parameter(self._index, self._knob, max(self._effort, count))
        queries = _unit(queries) if self._cosine else queries
        return self._index.search(np.ascontiguousarray(queries), count)[1].astype(np.int64)

    def to_bytes(self) -> np.ndarray:
        return self._faiss.serialize_index(self._index)

    def read(self, content: np.ndarray) -> None:
        self._index = self._faiss.deserialize_index(content)


_KNOBS = {"HNSW": "efSearch", "IVF": "nprobe"}


class _Usearch:
    """A graph of usearch."""

    def __init__(self, dimension: int, metric: str, effort: int = 64) -> None:
        from usearch.index import Index

        kind = {"cosine": "cos", "euclidean": "l2sq", "dot": "ip"}[metric]
        self._index = Index(ndim=dimension, metric=kind, dtype="f32", expansion_search=effort)
        self._effort = effort

    def add(self, rows: np.ndarray) -> None:
        first = len(self._index)
        self._index.add(np.arange(first, first + len(rows), dtype=np.uint64), rows)

    def propose(self, queries: np.ndarray, count: int) -> np.ndarray:
        self._index.expansion_search = max(self._effort, count)
        found = self._index.search(queries, count)
        keys = np.atleast_2d(found.keys).astype(np.int64)
        counts: Any = getattr(found, "counts", None)  # one query has none
        counts = np.array([keys.shape[1]]) if counts is None else counts
        filled = np.arange(keys.shape[1]) < counts[:, None]
        result = np.full((len(queries), count), -1, np.int64)
        result[:, : keys.shape[1]] = np.where(filled, keys, -1)
        return result

    def to_bytes(self) -> np.ndarray:
        return np.frombuffer(self._index.save(), np.uint8)

    def read(self, content: np.ndarray) -> None:
        self._index.load(content.tobytes())


def _unit(rows: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, SHORTEST), np.float32)
