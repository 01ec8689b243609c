"""Approximate search for large galleries with faiss or usearch, if they are installed.

An engine only proposes rows; distances are computed from the gallery itself, so every engine
returns the same values.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from keras_dlcourse._extras import require
from keras_dlcourse.edge.search.vectors import SHORTEST

ENGINES = ("exact", "faiss", "usearch")


class Engine(Protocol):
    """Proposes candidate rows."""

    def add(self, rows: np.ndarray) -> None:
        """Add float32 rows, numbered consecutively after the existing ones."""

    def propose(self, queries: np.ndarray, count: int) -> np.ndarray:
        """Return the row numbers of candidates, `(n, count)` int64; -1 where none was found."""

    def to_bytes(self) -> np.ndarray:
        """Return the serialized engine, `(size,)` uint8."""


def check_installed(name: str) -> None:
    """Raise an ImportError with the pip command if an engine is not installed."""
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
        ImportError: If the engine is not installed.
    """
    check_installed(name)
    kind = {"faiss": _Faiss, "usearch": _Usearch}[name]
    return kind(dimension, metric, **options)


def read_engine(
    name: str, content: np.ndarray, dimension: int, metric: str, options: dict[str, Any]
) -> Engine:
    """Restore an engine from the result of `to_bytes`."""
    engine: Any = make_engine(name, dimension, metric, options)
    engine.read(content)
    return engine


class _Faiss:
    """A faiss index from its index factory."""

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
                f"factory must be a string that faiss.index_factory accepts. "
                f"Received: {factory!r}. The error of faiss: {error}"
            ) from None
        self._knob = next((k for f, k in _KNOBS.items() if f in factory), None)

    def add(self, rows: np.ndarray) -> None:
        rows = _normalize(rows) if self._cosine else rows
        if not self._index.is_trained:
            self._index.train(rows)
        self._index.add(rows)

    def propose(self, queries: np.ndarray, count: int) -> np.ndarray:
        if self._knob:
            space = self._faiss.ParameterSpace()
            space.set_index_parameter(self._index, self._knob, max(self._effort, count))
        queries = _normalize(queries) if self._cosine else queries
        return self._index.search(np.ascontiguousarray(queries), count)[1].astype(np.int64)

    def to_bytes(self) -> np.ndarray:
        return self._faiss.serialize_index(self._index)

    def read(self, content: np.ndarray) -> None:
        self._index = self._faiss.deserialize_index(content)


_KNOBS = {"HNSW": "efSearch", "IVF": "nprobe"}


class _Usearch:
    """A usearch graph."""

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
        counts: Any = getattr(found, "counts", None)  # absent for a single query
        counts = np.array([keys.shape[1]]) if counts is None else counts
        filled = np.arange(keys.shape[1]) < counts[:, None]
        result = np.full((len(queries), count), -1, np.int64)
        result[:, : keys.shape[1]] = np.where(filled, keys, -1)
        return result

    def to_bytes(self) -> np.ndarray:
        return np.frombuffer(self._index.save(), np.uint8)

    def read(self, content: np.ndarray) -> None:
        self._index.load(content.tobytes())


def _normalize(rows: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, SHORTEST), np.float32)
