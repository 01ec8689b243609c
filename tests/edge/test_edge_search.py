"""Search in galleries beside brute force in float64 and scikit-learn."""

from __future__ import annotations

import os
import subprocess
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from keras_dlcourse.edge import Vectors, nearest

METRICS = ("cosine", "euclidean", "dot")
LEAST = 2**20


def brute_force(queries, gallery, k, metric):
    """Measure all pairs in float64, one by one; the lower index first."""
    distances = np.empty((len(queries), len(gallery)), "float32")
    for row, query in enumerate(np.asarray(queries, "float32").astype("float64")):
        for column, other in enumerate(np.asarray(gallery, "float32").astype("float64")):
            if metric == "euclidean":
                distances[row, column] = np.sqrt(((query - other) ** 2).sum())
            elif metric == "dot":
                distances[row, column] = -(query @ other)
            else:
                size = np.sqrt((query @ query) * (other @ other))
                cosine = query @ other / size if size else 0
                distances[row, column] = max(round(1 - cosine, 12), 0)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distances, order, 1)


def same(found, expected):
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=2e-7, atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
@given(
    seed=st.integers(0, 2**32 - 1),
    queries=st.integers(0, 9),
    rows=st.integers(1, 40),
    dimension=st.integers(1, 7),
    k=st.integers(1, 45),
    values=st.integers(1, 3),
)
@settings(max_examples=60)
def test_small_integers_with_many_ties(metric, seed, queries, rows, dimension, k, values):
    """Few values, so many rows are equally far, and zero vectors are among them."""
    rng = np.random.default_rng(seed)
    asked, gallery = (
        rng.integers(-values, values + 1, (count, dimension)) for count in (queries, rows)
    )
    found = nearest(asked, gallery, k, metric=metric)
    assert found.indices.shape == (queries, min(k, rows))
    assert found.indices.dtype == np.int64 and found.distances.dtype == np.float32
    same(found, brute_force(asked, gallery, k, metric))


def _galleries():
    rng = np.random.default_rng(5)
    plain = rng.standard_normal((1500, 24)).astype("float32")
    query = plain[:1].astype("float64")
    return {
        "plain": plain,
        "nearest_last": plain[np.argsort(plain @ plain[0])],
        "nearest_first": plain[np.argsort(-(plain @ plain[0]))],
        "all_equal": np.repeat(plain[:1], 1500, axis=0),
        "nearly_equal": (query + 1e-6 * plain).astype("float32"),
        "far_off": plain + 300,
        "other_lengths": plain * 10.0 ** rng.uniform(-3, 3, (1500, 1)),
    }


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", _galleries())
def test_blocks_change_nothing(kind, metric):
    """Many blocks, one block, one query alone or among others: brute force's answer each time."""
    gallery = _galleries()[kind]
    queries = np.concatenate([gallery[:3], _galleries()["plain"][3:9]])
    exact = gallery.astype("float32").astype("float64"), queries.astype("float32").astype("float64")
    distances = {
        "euclidean": lambda g, q: np.sqrt(((q[:, None] - g) ** 2).sum(-1)),
        "dot": lambda g, q: -(q[:, None] * g).sum(-1),
        "cosine": lambda g, q: np.maximum(
            np.round(
                1 - (q[:, None] * g).sum(-1) / np.sqrt((q**2).sum(-1)[:, None] * (g**2).sum(-1)), 12
            ),
            0,
        ),
    }[metric](*exact).astype("float32")
    many = np.tile(queries, (30, 1))  # at the least memory: blocks of 64 rows
    found = nearest(many, gallery, 11, metric=metric, memory=LEAST)
    for other in range(1, 30):
        np.testing.assert_array_equal(found.indices[:9], found.indices[9 * other : 9 * other + 9])
    whole = nearest(queries, gallery, 11, metric=metric)
    alone = [nearest(query[None], gallery, 11, metric=metric).indices[0] for query in queries]
    np.testing.assert_array_equal(whole.indices, alone)
    np.testing.assert_array_equal(whole.indices, found.indices[:9])
    np.testing.assert_array_equal(whole.distances, found.distances[:9])
    # Rounding of a sum in another order can only swap what is equally far to 7 digits.
    best = np.sort(distances, axis=1)[:, :11]
    np.testing.assert_allclose(whole.distances, best, rtol=1e-6, atol=2e-12)
    np.testing.assert_allclose(
        np.take_along_axis(distances, whole.indices, 1), whole.distances, rtol=1e-6, atol=2e-12
    )


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_scikit_learn_finds_the_same(metric):
    rng = np.random.default_rng(0)
    gallery, queries = rng.standard_normal((20_000, 16)), rng.standard_normal((300, 16))
    gallery, queries = gallery.astype("float32"), queries.astype("float32")
    peer = NearestNeighbors(n_neighbors=10, algorithm="brute", metric=metric)
    distances, indices = peer.fit(gallery.astype("float64")).kneighbors(queries.astype("float64"))
    found = nearest(queries, gallery, 10, metric=metric)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_all_of_a_gallery_in_order(metric):
    rng = np.random.default_rng(1)
    gallery, queries = rng.standard_normal((900, 5)), rng.standard_normal((4, 5))
    found = nearest(queries, gallery, 5000, metric=metric, memory=LEAST)
    assert found.indices.shape == (4, 900)
    assert (np.sort(found.indices) == np.arange(900)).all()
    assert (np.diff(found.distances) >= 0).all()


def test_tiny_and_huge_vectors():
    """A vector below 1e-15 has no direction; up to 1e15 nothing overflows."""
    gallery = np.array([[1e-20, 0], [1e15, 0], [-1e-14, 0], [0, 0]], "float32")
    found = nearest([[2.0, 0.0], [0.0, 0.0]], gallery, 4)
    assert found.indices.tolist() == [[1, 0, 3, 2], [0, 1, 2, 3]]
    assert found.distances.tolist() == [[0, 1, 1, 2], [1, 1, 1, 1]]
    far = nearest([[0.0, 0.0]], gallery, 4, metric="euclidean")
    assert far.indices.tolist() == [[3, 0, 2, 1]]


@pytest.mark.parametrize("kind", ["plain", "equal"])
@pytest.mark.parametrize("memory", [LEAST, 8 * 2**20])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_memory_stays_within_what_is_given(memory, kind, dtype):
    rng = np.random.default_rng(0)
    gallery = np.ones((15_000, 32), "float32")
    if kind == "plain":
        gallery = rng.standard_normal(gallery.shape).astype("float32")
    vectors = Vectors(gallery, dtype=dtype)
    queries = rng.standard_normal((16, 32)).astype("float32")
    tracemalloc.start()
    nearest(queries, vectors, 10, memory=memory)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert used < memory


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"k": 0}, ValueError, "k must be an integer of at least 1. Received: 0"),
        ({"k": 2.0}, TypeError, "k must be an integer of at least 1. Received: 2.0"),
        ({"k": True}, TypeError, "k must be an integer of at least 1. Received: True"),
        ({"metric": "l1"}, ValueError, "metric must be one of 'cosine', .*. Received: 'l1'"),
        ({"metric": 2}, TypeError, "metric must be one of 'cosine', .*. Received: 2"),
        ({"memory": 1000}, ValueError, "memory must be an integer of at least 1048576.*: 1000"),
        ({"gallery": np.zeros((0, 3))}, ValueError, "the gallery is empty"),
        ({"gallery": np.zeros(3)}, ValueError, r"gallery must have the shape .*\(3,\). Pass a"),
        ({"gallery": [["a", "b", "c"]]}, TypeError, "gallery must be real numbers. Received: <U1"),
        ({"gallery": [[1, 2], [3]]}, ValueError, "gallery must be numbers of shape"),
        ({"gallery": [[0, 1, np.nan]] * 2}, ValueError, "2 of 2 have NaN.*first is row 0"),
        ({"gallery": [[0, 1, 1e30]]}, ValueError, "no longer than 1e\\+15, but 1 of 1"),
        ({"gallery": [[0, 1, 1e300]]}, ValueError, "no longer than 1e\\+15, but 1 of 1"),
        (
            {"queries": [[0.0, 1.0]]},
            ValueError,
            "queries must have 3 values per row.*Received: 2\\.",
        ),
        ({"queries": [[0, 1, np.inf]]}, ValueError, "queries must be finite"),
        (
            {"queries": np.zeros(3)},
            ValueError,
            r"queries must have .*Pass a single row as row\[None\]",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(change, error, message):
    arguments = {"queries": np.eye(3), "gallery": np.eye(3), "k": 1, **change}
    with pytest.raises(error, match=message):
        nearest(**arguments)


def test_arguments_stay_as_they_were():
    gallery = np.random.default_rng(0).standard_normal((50, 4)).astype("float32")
    gallery.flags.writeable = False
    before = gallery.copy()
    nearest(gallery, gallery, 3, metric="euclidean")
    np.testing.assert_array_equal(gallery, before)


def test_the_same_on_the_boards_numpy(tmp_path):
    """tflite-runtime brings NumPy 1."""
    python = os.environ.get("KD_RUNTIME_PYTHON")
    if not python:
        pytest.skip("KD_RUNTIME_PYTHON names no second interpreter")
    rng = np.random.default_rng(0)
    gallery, queries = rng.standard_normal((3000, 8)), rng.standard_normal((20, 8))
    np.savez(tmp_path / "given.npz", gallery=gallery, queries=queries)
    code = (
        "import sys, numpy as np\n"
        "from keras_dlcourse.edge import nearest, Vectors\n"
        f"given = np.load({str(tmp_path / 'given.npz')!r})\n"
        "for dtype in ('float32', 'int8'):\n"
        "    found = nearest(given['queries'], Vectors(given['gallery'], dtype=dtype), 7)\n"
        f"    np.savez({str(tmp_path)!r} + f'/{{dtype}}.npz', i=found.indices, d=found.distances)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(root)}
    )
    assert done.returncode == 0, done.stderr
    for dtype in ("float32", "int8"):
        found = nearest(queries, Vectors(gallery, dtype=dtype), 7)
        there = np.load(tmp_path / f"{dtype}.npz")
        np.testing.assert_array_equal(there["i"], found.indices)
        np.testing.assert_array_equal(there["d"], found.distances)
