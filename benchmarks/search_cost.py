"""Search in a million embeddings, beside the bare product, scikit-learn, faiss and usearch.

128 values each, on all cores. Single queries are compared with a matrix-vector product, which reads
the gallery once, and 64 of them with one matrix product into memory that is there already. int8 is
measured on directions at random, where the tenth neighbour is hardly nearer than the eleventh, and
on classes around centres. KD_ROWS chooses another number of rows; faiss and usearch are measured
where they are installed.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _figures import Figure, in_turn, ratio
from sklearn.neighbors import NearestNeighbors

import keras_dlcourse as kd
from keras_dlcourse.edge import Vectors, nearest

ROWS, DIMENSION, K = int(os.environ.get("KD_ROWS", "1000000")), 128, 10
ONE, MANY, RECALL, MEMORY = 1.1, 1.4, 0.99, 0.28
ROUNDS, QUERIES, ASKED = 15, 64, 500
INFORMATION = float("inf")


def measure() -> list[Figure]:
    gallery, queries = _embeddings(centres=0)
    vectors = Vectors(gallery)
    figures = [*_exact(gallery, vectors, queries[:QUERIES]), *_peers(gallery, vectors, queries)]
    figures += _int8(gallery, vectors, queries, "at random")
    del gallery, vectors
    gallery, queries = _embeddings(centres=ROWS // 100)
    return figures + _int8(gallery, Vectors(gallery), queries, "around centres")


def _embeddings(centres: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a gallery and queries: at random, or with noise around centres."""
    rng = np.random.default_rng(0)
    parts = [rng.standard_normal((n, DIMENSION), dtype=np.float32) for n in (ROWS, ASKED)]
    if centres:
        middle = rng.standard_normal((centres, DIMENSION), dtype=np.float32)
        parts = [0.5 * part + middle[rng.integers(centres, size=len(part))] for part in parts]
    return parts[0], parts[1]


def _exact(gallery: np.ndarray, vectors: Vectors, queries: np.ndarray) -> list[Figure]:
    products = np.empty((QUERIES, ROWS), np.float32)
    figures = []
    for metric in ("cosine", "euclidean"):
        one = in_turn(
            lambda metric=metric: nearest(queries[:1], vectors, K, metric=metric),
            lambda: gallery @ queries[0],
            rounds=2 * ROUNDS,
        )
        many = in_turn(
            lambda metric=metric: nearest(queries, vectors, K, metric=metric),
            lambda: np.matmul(queries, gallery.T, out=products),
            rounds=ROUNDS,
        )
        figures += [
            ratio(f"exact, {metric}, one query / matrix-vector product", *one, ONE),
            ratio(f"exact, {metric}, {QUERIES} queries / matrix product", *many, MANY),
        ]
    return figures


def _peers(gallery: np.ndarray, vectors: Vectors, queries: np.ndarray) -> list[Figure]:
    """Compare with other libraries, for information."""
    few = queries[:QUERIES]
    brute = NearestNeighbors(n_neighbors=K, algorithm="brute", n_jobs=-1).fit(gallery)
    figures = [_beside("scikit-learn, brute", vectors, few, lambda: brute.kneighbors(few))]
    if importlib.util.find_spec("faiss"):
        import faiss

        flat = faiss.IndexFlatL2(DIMENSION)
        flat.add(gallery)
        figures.append(_beside("faiss, IndexFlatL2", vectors, few, lambda: flat.search(few, K)))
    for engine in ("faiss", "usearch"):
        if importlib.util.find_spec(engine):
            figures += _approximate(engine, gallery[: ROWS // 10], queries)
    return figures


def _beside(what: str, vectors: Vectors, queries: np.ndarray, peer: Callable[[], object]) -> Figure:
    times = in_turn(
        lambda: nearest(queries, vectors, K, metric="euclidean"), peer, rounds=ROUNDS // 3
    )
    return ratio(f"exact, euclidean, {QUERIES} queries / {what}", *times, INFORMATION)


def _approximate(engine: str, gallery: np.ndarray, queries: np.ndarray) -> list[Figure]:
    """Measure an engine of the index on a tenth of the gallery: building takes long."""
    indexes = []
    for kind in (engine, "exact"):
        indexes.append(kd.retrieval.Index("euclidean", engine=kind))
        indexes[-1].add(gallery)
    started = time.perf_counter()
    indexes[0].search(queries[:1], K)
    built = time.perf_counter() - started
    few = queries[:QUERIES]
    times = in_turn(
        lambda: indexes[0].search(few, K), lambda: indexes[1].search(few, K), rounds=ROUNDS // 3
    )
    what = f"Index, {engine}, {len(gallery):,} rows at random"
    return [
        ratio(f"{what}, {QUERIES} queries / exact", *times, INFORMATION),
        Figure(
            f"{what}, recall@{K} of exact",
            indexes[0].recall(queries, K),
            "",
            0,
            at_most=False,
            detail=f"built in {built:.0f} s",
        ),
    ]


def _int8(gallery: np.ndarray, vectors: Vectors, queries: np.ndarray, what: str) -> list[Figure]:
    """Measure codes alone, and with the rows on the disk to read again what may be near."""
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "rows.npy", gallery)
        originals = np.load(Path(folder) / "rows.npy", mmap_mode="r")
        exact = nearest(queries, vectors, K).indices
        for name, given, limit in (
            ("int8 with originals on the disk", originals, RECALL),
            ("int8 alone", None, 0.0),
        ):
            small = Vectors(gallery, dtype="int8", originals=given)
            found = nearest(queries, small, K).indices
            shared = [len(set(one) & set(other)) for one, other in zip(exact, found, strict=True)]
            recall = float(np.mean(shared)) / K
            of = f"recall@{K} of exact, {what}"
            detail = f"{len(queries)} queries"
            figures.append(Figure(f"{name}, {of}", recall, "", limit, at_most=False, detail=detail))
            for count in (1, QUERIES):
                some = queries[:count]
                times = in_turn(
                    lambda some=some, small=small: nearest(some, small, K),
                    lambda some=some: nearest(some, vectors, K),
                    rounds=ROUNDS // 3,
                )
                asked = "one query" if count == 1 else f"{count} queries"
                of = f"cosine, {asked} / float32, {what}"
                figures.append(ratio(f"{name}, {of}", *times, INFORMATION))
        detail = f"{small.nbytes / 1e6:.0f} against {vectors.nbytes / 1e6:.0f} MB"
        share = small.nbytes / vectors.nbytes
        figures.append(Figure("int8, memory / float32", share, "x", MEMORY, detail=detail))
    return figures
