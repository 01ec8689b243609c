"""Rows as float32 and as int8: what is stored, added, removed, and how well int8 finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_dlcourse.edge import Vectors, nearest

DTYPES = ("float32", "int8")


def decoded(rows):
    """Round a row to 127 steps of its largest value on each side, value by value."""
    result = np.zeros_like(rows)
    for row, values in enumerate(rows):
        step = np.float32(max(abs(value) for value in values)) / np.float32(127)
        for column, value in enumerate(values):
            result[row, column] = np.rint(value / step) * step if step else 0
    return result


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.integers(0, 6)),
            st.tuples(st.just("remove"), st.integers(0, 5)),
        ),
        max_size=8,
    ),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=60)
def test_adding_and_removing_is_that_of_a_list(dtype, steps, seed):
    rng = np.random.default_rng(seed)
    expected = rng.standard_normal((3, 5)).astype("float32")
    vectors = Vectors(expected, dtype=dtype)
    for step, count in steps:
        if step == "add":
            new = rng.standard_normal((count, 5)).astype("float32")
            vectors.add(new)
            expected = np.concatenate([expected, new])
        else:
            gone = rng.choice(len(expected), min(count, len(expected)), replace=False)
            vectors.remove(gone)
            expected = np.delete(expected, gone, axis=0)
    stored = expected if dtype == "float32" else decoded(expected)
    assert len(vectors) == len(expected)
    np.testing.assert_allclose(vectors.rows(), stored, atol=1e-6)
    np.testing.assert_allclose(vectors.norms, np.linalg.norm(stored, axis=1), rtol=1e-5, atol=1e-7)
    if len(expected):
        found = nearest(expected[:2], vectors, 3, metric="euclidean")
        reference = nearest(expected[:2], vectors.rows(), 3, metric="euclidean")
        np.testing.assert_array_equal(found.indices, reference.indices)
        np.testing.assert_allclose(found.distances, reference.distances, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_make_the_same_vectors(dtype):
    rows = np.random.default_rng(0).standard_normal((9, 4)).astype("float32")
    vectors = Vectors(rows, dtype=dtype)
    arrays = vectors.arrays()
    assert set(arrays) == ({"rows"} if dtype == "float32" else {"codes", "scales"})
    for array in arrays.values():
        array.flags.writeable = False
    again = Vectors.from_arrays(arrays)
    np.testing.assert_array_equal(again.rows(), vectors.rows())
    np.testing.assert_array_equal(again.norms, vectors.norms)
    again.add(rows[:2])
    again.remove([0])
    np.testing.assert_array_equal(again.rows()[-2:], vectors.rows([0, 1]))
    np.testing.assert_array_equal(vectors.rows(), Vectors(rows, dtype=dtype).rows())


def test_rows_given_are_copied_and_those_laid_over_are_not():
    rows = np.ones((3, 2), "float32")
    copied, over = Vectors(rows), Vectors.over(rows)
    rows[0] = 7
    assert copied.rows()[0].tolist() == [1, 1] and over.rows()[0].tolist() == [7, 7]
    over.add(np.zeros((1, 2)))
    rows[0] = 8
    assert over.rows()[0].tolist() == [7, 7]


def test_int8_needs_a_quarter_and_two_numbers_a_row():
    rows = np.random.default_rng(0).standard_normal((1000, 128)).astype("float32")
    exact, small = Vectors(rows), Vectors(rows, dtype="int8")
    assert exact.nbytes == 1000 * (4 * 128 + 4)
    assert small.nbytes == 1000 * (128 + 8)
    assert repr(small) == "Vectors(1000 x 128, int8)"


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_int8_finds_what_float32_finds(metric):
    """Classes around centres, as embeddings are; benchmarks/search_cost.py has a million."""
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((300, 64))
    gallery = np.repeat(centres, 50, axis=0) + 0.5 * rng.standard_normal((15_000, 64))
    queries = centres[rng.integers(300, size=200)] + 0.5 * rng.standard_normal((200, 64))
    exact = nearest(queries, gallery, 10, metric=metric).indices
    small = nearest(queries, Vectors(gallery, dtype="int8"), 10, metric=metric).indices
    shared = [len(set(one) & set(other)) for one, other in zip(exact, small, strict=True)]
    assert np.mean(shared) / 10 >= 0.985


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
@pytest.mark.parametrize("spread", [0, 2])
def test_int8_with_originals_on_the_disk_is_exact(metric, spread, tmp_path):
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((8000, 24)) * 10.0 ** rng.uniform(-spread, spread, (8000, 1))
    rows = rows.astype("float32")
    rows[5:9] = rows[4]
    np.save(tmp_path / "rows.npy", rows)
    originals = np.load(tmp_path / "rows.npy", mmap_mode="r")
    small = Vectors(rows, dtype="int8", originals=originals)
    queries = np.concatenate([rows[:20], rng.standard_normal((80, 24)).astype("float32")])
    found, expected = (nearest(queries, each, 10, metric=metric) for each in (small, rows))
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.distances, expected.distances)
    assert small.nbytes < 8000 * (24 + 8 + 8 + 1)
    for call in (lambda: small.add(rows[:1]), lambda: small.remove([0])):
        with pytest.raises(ValueError, match="vectors with originals cannot be"):
            call()


def test_originals_that_do_not_fit():
    rows = np.ones((3, 2), "float32")
    with pytest.raises(ValueError, match="originals require dtype='int8'"):
        Vectors(rows, originals=rows)
    for wrong in (rows[:2], rows.astype("float64"), [[1.0]]):
        with pytest.raises(ValueError, match=r"originals must be a float32 .* \(3, 2\)"):
            Vectors(rows, dtype="int8", originals=wrong)


@pytest.mark.parametrize("scale", [1e-14, 1e-3, 1e12])
def test_int8_of_any_size(scale):
    rows = np.array([[1, -2, 0.5], [0, 0, 0], [127, 64, -127]]) * scale
    np.testing.assert_allclose(Vectors(rows, dtype="int8").rows(), rows, atol=scale * 2 / 127)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="dtype must be one of 'float32', 'int8'. .*: 'int4'"):
        Vectors([[1.0]], dtype="int4")
    with pytest.raises(ValueError, match="dimension must be an integer of at least 1. Received: 0"):
        Vectors(dimension=0)
    with pytest.raises(TypeError, match="dimension must be an integer of at least 1. Received: 2"):
        Vectors(dimension=2.0)
    with pytest.raises(ValueError, match="without rows require dimension="):
        Vectors()
    vectors = Vectors(dimension=2)
    with pytest.raises(ValueError, match="rows must have 2 values per row.*Received: 3"):
        vectors.add(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="rows must be finite"):
        vectors.add([[np.nan, 1]])
    vectors.add(np.eye(2))
    for wrong in (2, -1):
        with pytest.raises(IndexError, match="must be from 0 to 1"):
            vectors.remove([wrong])
    codes = np.ones((2, 3), np.int8)
    with pytest.raises(ValueError, match="codes must be int8 .* with a scale for each row"):
        Vectors.from_arrays({"codes": codes, "scales": np.ones(3, "float32")})
    with pytest.raises(ValueError, match="have NaN"):
        Vectors.from_arrays({"codes": codes, "scales": np.full(2, np.nan, "float32")})
