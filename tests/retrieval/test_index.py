"""The index beside a dict, its engines beside the exact search, and its file."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from embedded_classes import embedded_classes
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

import keras_dlcourse as kd
from keras_dlcourse.retrieval import Index, InvalidIndex

ENGINES = [
    "exact",
    *(
        pytest.param(
            name,
            marks=pytest.mark.skipif(
                importlib.util.find_spec(name) is None, reason=f"{name} is not installed"
            ),
        )
        for name in ("faiss", "usearch")
    ),
]
DTYPES = ("float32", "int8")


def filled(engine="exact", dtype="float32", metric="cosine", rows=60):
    embeddings, labels = embedded_classes(rows)
    index = Index(metric, dtype, engine)
    names = [f"class {label}" for label in labels]
    index.add(embeddings, names, [f"image {row}" for row in range(rows)])
    return index, embeddings, names


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.integers(0, 5)),
            st.tuples(st.just("remove"), st.integers(0, 4)),
        ),
        max_size=7,
    ),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=40)
def test_adding_and_removing_is_that_of_a_dict(steps, seed):
    rng = np.random.default_rng(seed)
    index, expected = Index("euclidean"), {}
    for step, count in [("add", 3), *steps]:
        if step == "add":
            rows = rng.standard_normal((count, 4)).astype("float32")
            labels = rng.integers(0, 3, count)
            keys = index.add(rows, labels)
            assert not set(keys) & set(expected)
            expected |= dict(zip(keys, zip(rows, labels.tolist(), strict=True), strict=True))
        else:
            gone = rng.permutation(list(expected))[:count].tolist()
            index.remove(gone)
            expected = {key: value for key, value in expected.items() if key not in gone}
    assert index.keys == list(expected) and len(index) == len(expected)
    assert index.labels == [label for _, label in expected.values()]
    if expected:
        query = rng.standard_normal(4)
        found = index.search(query[None], 2)
        far = {key: np.linalg.norm(row - query) for key, (row, _) in expected.items()}
        nearest = sorted(far, key=far.__getitem__)[:2]
        assert found.keys[0].tolist() == nearest
        assert found.labels[0].tolist() == [expected[key][1] for key in nearest]
        np.testing.assert_array_equal(index.embeddings(nearest[:1])[0], expected[nearest[0]][0])


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_scikit_learn_finds_the_same(metric):
    index, embeddings, names = filled(metric=metric)
    peer = NearestNeighbors(n_neighbors=5, algorithm="brute", metric=metric)
    distances, rows = peer.fit(embeddings.astype("float64")).kneighbors(
        embeddings.astype("float64") + 0.1
    )
    found = index.search(embeddings + np.float32(0.1), 5)
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_allclose(found.distances, distances, atol=1e-6)
    assert found.labels.tolist() == np.array(names)[rows].tolist()
    assert found.keys.tolist() == [[f"image {row}" for row in line] for line in rows]


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
@pytest.mark.parametrize("engine", ENGINES[1:])
def test_engines_answer_with_exact_distances(engine, metric):
    exact, embeddings, _ = filled(metric=metric, rows=800)
    index, *_ = filled(engine, metric=metric, rows=800)
    queries = embeddings[:50] + np.float32(0.05)
    for _ in range(2):
        found, expected = index.search(queries, 8), exact.search(queries, 8)
        agree = found.rows == expected.rows
        assert agree.mean() > 0.9
        np.testing.assert_array_equal(found.distances[agree], expected.distances[agree])
        assert index.recall(queries, 8) >= 0.97
        keys = [f"image {row}" for row in range(0, 300, 3)]
        for each in (index, exact):  # what is added after a search, and removed, counts, too
            each.add(queries[:3] * 2, keys=[f"late {len(each)} {row}" for row in range(3)])
            if keys[0] in each.keys:
                each.remove(keys)


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_an_engine_gives_all_that_there_is(engine):
    index, *_ = filled(engine, rows=5)
    found = index.search(np.ones((2, 6)), 50)
    assert found.rows.shape == (2, 5) and (np.sort(found.rows) == np.arange(5)).all()
    assert index.search(np.ones((1, 6)), 3).rows.shape == (1, 3)
    assert index.search(np.ones((0, 6)), 3).rows.shape == (0, 3)


def test_faiss_factory_and_effort():
    pytest.importorskip("faiss")
    embeddings, _ = embedded_classes(2000, classes=500)
    recalls = []
    for effort in (1, 40):
        index = Index(engine="faiss", factory="IVF40,Flat", effort=effort)
        index.add(embeddings)
        recalls.append(index.recall(embeddings[:100] + np.float32(0.3), 1))
    assert recalls[0] < 0.995 and recalls[1] == 1
    wrong = Index(engine="faiss", factory="nonsense")
    wrong.add(embeddings)
    with pytest.raises(
        ValueError,
        match="factory must be a string that faiss.index_factory accepts. Received: 'nonsense'",
    ):
        wrong.search(embeddings[:1])


def test_recall_of_int8_and_against_what_was_there():
    index, embeddings, _ = filled(dtype="int8", rows=2000)
    queries = embeddings[:100] + np.float32(0.1)
    assert index.recall(queries) == 1  # in what is stored the search is exact
    measured = index.recall(queries, embeddings=embeddings)
    truth = filled(rows=2000)[0].search(queries).rows
    pairs = zip(truth, index.search(queries).rows, strict=True)
    shared = np.mean([len(set(one) & set(other)) / 10 for one, other in pairs])
    assert measured == pytest.approx(shared, abs=1e-9) and 0.9 < measured < 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_file_brings_all_back(engine, dtype, tmp_path):
    index, embeddings, _ = filled(engine, dtype, rows=300)
    index.add(embeddings[:2] / 2, labels=[7, None], keys=[40, "ü"])
    index.remove(["image 3"])
    index.save(tmp_path / "gallery.kdindex")
    again = Index.load(tmp_path / "gallery.kdindex")
    assert repr(again) == repr(index) == f"Index(301 x 6, cosine, {dtype}, {engine})"
    assert again.keys == index.keys and again.labels == index.labels
    for one, other in zip(again.search(embeddings, 7), index.search(embeddings, 7), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.add(embeddings[:1]) == index.add(embeddings[:1]) == [41]
    again.remove(["image 5"])
    assert again.search(embeddings[10:11], 1).keys.tolist() == [["image 10"]]
    assert [path.name for path in tmp_path.iterdir()] == ["gallery.kdindex"]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("index") / "gallery.kdindex"
    filled(rows=20)[0].save(path)
    return path


@given(st.data())
@settings(max_examples=150)
def test_a_damaged_file_is_one_clear_error(file, tmp_path_factory, data):
    content = bytearray(file.read_bytes())
    kind = data.draw(st.sampled_from(["flip", "cut", "more"]))
    place = data.draw(st.integers(0, len(content) - 1))
    if kind == "flip":
        content[place] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        content = content[:place]
    else:
        content += b"\0"
    damaged = tmp_path_factory.mktemp("damaged") / "gallery.kdindex"
    damaged.write_bytes(content)
    with pytest.raises(InvalidIndex, match=r"gallery.kdindex' is (not an index|damaged)"):
        Index.load(damaged)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metric": "l1"}, "metric must be one of"),
        ({"keys": ["a"]}, "keys must be one for each of the 20 rows"),
        ({"keys": [0] * 20}, "keys must be unique. Received: 0 more than once"),
        ({"labels": None}, "cannot be read"),
        ({"dtype": "int8"}, "dtype must be float32.*Received: int8"),
        ({"options": {"factory": "x"}}, "takes no options"),
        ({"next": -1}, "next must be an integer of at least 0"),
        ({"engine": ["exact"]}, "engine must be one of"),
    ],
)
def test_a_file_that_contradicts_itself(file, tmp_path, change, message):
    """Its checksum is right, as of a file that was made with ill intent."""
    from keras_dlcourse.retrieval.index_file import read_index, write_index

    about, arrays = read_index(file)
    write_index(tmp_path / "odd", {**about, **change}, arrays)
    with pytest.raises(InvalidIndex, match=f"odd' cannot be read.*{message}|{message}"):
        Index.load(tmp_path / "odd")


def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    index, embeddings, _ = filled(rows=20)
    path = tmp_path / "gallery.kdindex"
    index.save(path)
    index.add(embeddings)
    from keras_dlcourse.retrieval import index_file

    class Full:
        def update(self, content):
            raise OSError("disk full")

    monkeypatch.setattr(index_file.hashlib, "sha256", Full)
    with pytest.raises(OSError, match="disk full"):
        index.save(path)
    monkeypatch.undo()
    assert len(Index.load(path)) == 20
    assert [each.name for each in tmp_path.iterdir()] == ["gallery.kdindex"]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda i: i.search(np.ones((1, 6)), 0),
            ValueError,
            "k must be an integer of at least 1. Received: 0",
        ),
        (
            lambda i: i.search(np.ones((1, 5))),
            ValueError,
            "queries must have 6 values.*Received: 5",
        ),
        (lambda i: i.search(np.full((1, 6), np.nan)), ValueError, "queries must be finite"),
        (
            lambda i: i.add(np.ones((1, 5))),
            ValueError,
            "embeddings must have 6 values.*Received: 5",
        ),
        (lambda i: i.add(np.full((2, 6), np.nan)), ValueError, "embeddings must be finite.*2 of 2"),
        (
            lambda i: i.add(np.ones((2, 6)), ["a"]),
            ValueError,
            "labels must have one entry for each of the 2",
        ),
        (lambda i: i.add(np.ones((1, 6)), [b"a"]), TypeError, "labels must be strings or numbers"),
        (lambda i: i.add(np.ones((1, 6)), keys=[1.5]), TypeError, "keys must be .*Received: 1.5"),
        (
            lambda i: i.add(np.ones((1, 6)), keys="a"),
            TypeError,
            "keys must be a list. Received: 'a'",
        ),
        (lambda i: i.add(np.ones((2, 6)), keys=["a"]), ValueError, "keys must be one for each of"),
        (
            lambda i: i.add(np.ones((2, 6)), keys=["a", "a"]),
            ValueError,
            "keys must be unique. Received: 'a'",
        ),
        (lambda i: i.add(np.ones((1, 6)), keys=["image 2"]), ValueError, "already has 'image 2'"),
        (lambda i: i.remove(["image 1", "nobody"]), KeyError, "the index has no key 'nobody'"),
        (lambda i: i.embeddings(["nobody"]), KeyError, "nobody"),
        (lambda i: i.recall(np.ones((0, 6))), ValueError, "queries must hold at least one row"),
        (
            lambda i: i.recall(np.ones((1, 6)), embeddings=np.ones((3, 6))),
            ValueError,
            "embeddings must hold one row for each of the 20 entries. Received: 3",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(call, error, message):
    index, embeddings, _ = filled(rows=20)
    before = index.keys.copy(), index.embeddings()
    with pytest.raises(error, match=message):
        call(index)
    assert index.keys == before[0]
    np.testing.assert_array_equal(index.embeddings(), before[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metric": "l1"}, "metric must be one of .* Received: 'l1'"),
        ({"dtype": "int4"}, "dtype must be one of 'float32', 'int8'. Received: 'int4'"),
        ({"engine": "annoy"}, "engine must be one of .*Received: 'annoy'"),
        ({"effort": 3}, "engine 'exact' takes no options. Received: effort="),
    ],
)
def test_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Index(**arguments)


def test_an_empty_index(tmp_path):
    index = Index()
    assert len(index) == 0 and index.dimension is None and repr(index).startswith("Index(empty")
    for call in (
        lambda: index.search([[1.0]]),
        lambda: index.save(tmp_path / "x"),
        index.embeddings,
    ):
        with pytest.raises(ValueError, match="the index is empty"):
            call()
    index.add(np.ones((1, 2)))
    index.remove([0])
    with pytest.raises(ValueError, match="the index is empty"):
        index.search(np.ones((1, 2)))
    assert index.add(np.ones((1, 2))) == [1]


def test_a_missing_engine_names_the_command(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "faiss" else find(name)
    )
    with pytest.raises(ImportError, match=r"pip install 'keras-dlcourse\[retrieval\]'"):
        kd.retrieval.Index(engine="faiss")
