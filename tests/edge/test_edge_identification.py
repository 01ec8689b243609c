"""Identification beside a loop over all templates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_dlcourse.edge import UNKNOWN, Vectors, class_means, identify


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.floats(0, 3))
@settings(max_examples=50)
def test_the_nearest_of_all_templates_or_nobody(seed, count, threshold):
    rng = np.random.default_rng(seed)
    templates, queries = rng.standard_normal((count, 3)), rng.standard_normal((5, 3))
    labels = rng.choice(["a", "b", "c"], count)
    found = identify(queries, templates, labels, threshold=threshold, metric="euclidean")
    for query, identity in zip(queries, found, strict=True):
        far = [np.sqrt(sum((query - template) ** 2)) for template in templates]
        nearest = int(np.argmin(far))
        assert identity.row == nearest and identity.nearest == labels[nearest]
        assert identity.distance == pytest.approx(far[nearest], rel=1e-5)
        assert identity.label == (labels[nearest] if far[nearest] <= threshold else UNKNOWN)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
def test_class_means(metric):
    rng = np.random.default_rng(0)
    rows, labels = rng.standard_normal((20, 4)), [int(x) for x in rng.integers(0, 3, 20)]
    means, names = class_means(Vectors(rows), labels, metric=metric)
    assert names == list(dict.fromkeys(labels)) and means.dtype == np.float32
    for mean, name in zip(means, names, strict=True):
        own = [row for row, label in zip(rows, labels, strict=True) if label == name]
        if metric == "cosine":
            own = [row / np.linalg.norm(row) for row in own]
        np.testing.assert_allclose(mean, np.mean(own, axis=0), rtol=1e-5, atol=1e-6)


def test_a_mean_is_not_misled_by_one_odd_template():
    templates = [[1.0, 0.0], [0.9, 0.1], [0.1, 1.0], [0.0, 1.0], [-0.1, 0.9]]
    labels = ["a", "a", "a", "b", "b"]  # the third is odd
    query = [[0.08, 1.0]]
    assert identify(query, templates, labels)[0].label == "a"
    assert identify(query, *class_means(templates, labels))[0].label == "b"


def test_distance_at_the_threshold_is_accepted():
    found = identify([[3.0, 4.0]], [[0.0, 0.0]], [7], threshold=5, metric="euclidean")
    assert found[0] == (7, 5.0, 7, 0)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"labels": ["a"]},
            ValueError,
            "labels must have one entry for each of the 2 rows. Received: 1",
        ),
        ({"labels": "ab"}, TypeError, "labels must be a list .* Received: the string 'ab'"),
        ({"labels": [["a"], "b"]}, TypeError, r"labels must be hashable.* Received: \['a'\]"),
        (
            {"threshold": float("nan")},
            ValueError,
            "threshold must be a distance or None. Received: nan",
        ),
        (
            {"threshold": "0.5"},
            TypeError,
            "threshold must be a distance or None. Received: '0.5'",
        ),
        ({"templates": np.zeros((0, 2)), "labels": []}, ValueError, "the gallery is empty"),
        ({"queries": [[np.nan, 0]]}, ValueError, "queries must be finite"),
    ],
)
def test_what_makes_no_sense_is_refused(change, error, message):
    arguments = {"queries": np.eye(2), "templates": np.eye(2), "labels": ["a", "b"], **change}
    with pytest.raises(error, match=message):
        identify(**arguments)


def test_means_of_nothing():
    with pytest.raises(ValueError, match="there are no templates"):
        class_means(np.zeros((0, 2)), [])
    with pytest.raises(ValueError, match="metric must be one of"):
        class_means(np.eye(2), [0, 1], metric="far")
