"""Measures of retrieval beside loops over all pairs, and scikit-learn."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from embedded_classes import distance, embedded_classes
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.metrics import (
    average_precision_score,
    normalized_mutual_info_score,
    roc_auc_score,
    roc_curve,
)
from sklearn.neighbors import NearestNeighbors

import keras_dlcourse as kd

METRICS = ("cosine", "euclidean", "dot")


def by_loops(embeddings, labels, ks, metric):
    """Rank all others of each image, one by one."""
    found = {f"recall@{k}": [] for k in ks} | {"map@r": [], "r_precision": []}
    for image, label in enumerate(labels):
        others = [row for row in range(len(labels)) if row != image]
        others.sort(
            key=lambda row: np.float32(distance(embeddings[image], embeddings[row], metric))
        )
        right = [labels[row] == label for row in others]
        r = sum(right)
        if not r:
            continue
        for k in ks:
            found[f"recall@{k}"].append(any(right[:k]))
        found["r_precision"].append(sum(right[:r]) / r)
        found["map@r"].append(sum(sum(right[: i + 1]) / (i + 1) for i in range(r) if right[i]) / r)
    return {name: float(np.mean(values)) for name, values in found.items()}


@pytest.mark.parametrize("metric", METRICS)
@given(st.integers(0, 2**32 - 1), st.integers(6, 40), st.integers(1, 8), st.floats(0.05, 2))
@settings(max_examples=15)
def test_rankings(metric, seed, rows, classes, noise):
    embeddings, labels = embedded_classes(rows, classes, 4, noise, seed)
    labels[:2] = 0
    names = ["recall@1", "recall@3", "recall@1000", "map@r", "r_precision"]
    found = kd.retrieval.evaluate(embeddings, labels, names, metric=metric)
    expected = by_loops(embeddings, labels, [1, 3, 1000], metric)
    assert list(found) == names
    for name in names:
        assert found[name] == pytest.approx(expected[name], abs=1e-12), name
    assert kd.retrieval.recall_at_k(embeddings, labels, 3, metric=metric) == found["recall@3"]
    assert kd.retrieval.recall_at_k(embeddings, labels, [1, 3], metric=metric) == {
        1: found["recall@1"],
        3: found["recall@3"],
    }
    # Alone, a measure looks at fewer neighbours: its mean may be rounded otherwise.
    alone = kd.retrieval.map_at_r(embeddings, labels, metric=metric)
    assert alone == pytest.approx(found["map@r"], abs=1e-12)
    alone = kd.retrieval.r_precision(embeddings, labels, metric=metric)
    assert alone == pytest.approx(found["r_precision"], abs=1e-12)


def test_scikit_learn_recalls_the_same():
    embeddings, labels = embedded_classes(3000, 40, 16)
    peer = NearestNeighbors(n_neighbors=6, algorithm="brute").fit(embeddings)
    near = peer.kneighbors(embeddings, return_distance=False)[:, 1:]
    right = labels[near] == labels[:, None]
    found = kd.retrieval.recall_at_k(embeddings, labels, [1, 5], metric="euclidean")
    assert found == {1: right[:, 0].mean(), 5: right.any(1).mean()}


def test_all_of_a_class_first_is_average_precision():
    """With every other image of the class before the rest, mAP@R is scikit-learn's AP: 1."""
    embeddings, labels = embedded_classes(40, 3, 5, noise=0.01)
    assert kd.retrieval.map_at_r(embeddings, labels) == 1
    scores = -np.array([distance(embeddings[0], other, "cosine") for other in embeddings[1:]])
    assert average_precision_score(labels[1:] == labels[0], scores) == 1


def test_equal_embeddings_do_not_find_themselves():
    """Where all are equal an image is not among its first neighbours, but the rule stays."""
    labels = np.array([0, 1, 1, 0, 2, 0])
    expected = by_loops(np.ones((6, 2)), labels, [1, 2], "cosine")
    found = kd.retrieval.evaluate(np.ones((6, 2)), labels, ["recall@1", "recall@2", "map@r"])
    assert found == pytest.approx({name: expected[name] for name in found})


@pytest.mark.parametrize("metric", METRICS)
def test_verification_and_equal_error_rate(metric):
    embeddings, labels = embedded_classes(50, 4, 5)
    pairs = list(itertools.combinations(range(50), 2))
    far = [distance(embeddings[one], embeddings[other], metric) for one, other in pairs]
    same = [labels[one] == labels[other] for one, other in pairs]
    auc = kd.retrieval.verification_auc(embeddings, labels, metric=metric)
    assert auc == pytest.approx(roc_auc_score(same, -np.array(far)), abs=1e-9)
    accepted, kept, _ = roc_curve(same, -np.array(far), drop_intermediate=False)
    gap = accepted - (1 - kept)
    crossing = np.interp(0, gap, accepted)  # the gap grows along the curve
    error = kd.retrieval.equal_error_rate(embeddings, labels, metric=metric)
    assert error == pytest.approx(crossing, abs=1e-9)
    assert 0 < error < 0.5 < auc < 1


def test_equal_error_rate_of_extremes():
    assert (
        kd.retrieval.equal_error_rate([[0.0], [0], [9], [9]], [0, 0, 1, 1], metric="euclidean") == 0
    )
    assert (
        kd.retrieval.equal_error_rate([[0.0], [9], [0], [9]], [0, 0, 1, 1], metric="euclidean")
        > 0.6
    )
    assert kd.retrieval.equal_error_rate(np.ones((4, 2)), [0, 0, 1, 1]) == 0.5


def test_a_sample_of_pairs_is_fair():
    embeddings, labels = embedded_classes(2000, 20, 8)
    rows, same = kd.retrieval.pair_sample(labels, 20_000, seed=3)
    again = kd.retrieval.pair_sample(labels, 20_000, seed=3)
    np.testing.assert_array_equal(rows, again[0])
    assert rows.shape == (20_000, 2) and same.mean() == 0.5
    assert (rows[:, 0] != rows[:, 1]).all()
    np.testing.assert_array_equal(labels[rows[:, 0]] == labels[rows[:, 1]], same)
    # Each image is as likely as any other: 20 times on average, so a count above 50 is no chance.
    assert np.bincount(rows.ravel(), minlength=2000).max() < 50
    sampled, whole = (
        kd.retrieval.verification_auc(embeddings, labels, pairs=pairs) for pairs in (20_000, 10**7)
    )
    assert sampled == pytest.approx(whole, abs=0.01)


@pytest.mark.parametrize("metric", METRICS)
def test_triplet_accuracy(metric):
    embeddings, labels = embedded_classes(25, 4, 3)
    right = total = 0
    for image, like, unlike in itertools.permutations(range(25), 3):
        if labels[image] == labels[like] and labels[image] != labels[unlike]:
            near, far = (
                distance(embeddings[image], embeddings[other], metric) for other in (like, unlike)
            )
            right, total = right + (near < far), total + 1
    whole = kd.retrieval.triplet_accuracy(embeddings, labels, metric=metric, triplets=None)
    assert whole == pytest.approx(right / total, abs=1e-12)


def test_sampled_triplets_weigh_each_image_alike():
    embeddings, labels = embedded_classes(300, 4, 3)
    by_image = []
    for image in range(300):
        far = np.linalg.norm(embeddings.astype("float64") - embeddings[image], axis=1)
        like = far[(labels == labels[image]) & (np.arange(300) != image)]
        unlike = far[labels != labels[image]]
        by_image.append((like[:, None] < unlike).mean())
    sampled = kd.retrieval.triplet_accuracy(embeddings, labels, triplets=40_000, seed=1)
    assert sampled == pytest.approx(np.mean(by_image), abs=0.01)
    assert kd.retrieval.triplet_accuracy(np.ones((4, 2)), [0, 0, 1, 1]) == 0  # ties do not count


def test_normalized_mutual_information():
    embeddings, labels = embedded_classes(300, 5, 6)
    found = kd.retrieval.normalized_mutual_information(embeddings, labels, seed=4)
    clusters = KMeans(5, n_init=3, random_state=4).fit_predict(embeddings)
    assert found == normalized_mutual_info_score(labels, clusters)
    assert kd.retrieval.evaluate(embeddings, labels, ["nmi"], seed=4) == {"nmi": found}
    two = kd.retrieval.normalized_mutual_information(embeddings, labels, clusters=2, seed=4)
    assert two < found


@pytest.mark.parametrize("kind", ["words", "one_hot", "column", "floats", "list"])
def test_labels_of_any_kind(kind):
    embeddings, labels = embedded_classes(40, 3, 4)
    expected = kd.retrieval.recall_at_k(embeddings, labels)
    given = {
        "words": np.array(["cat", "dog", "newt"])[labels],
        "one_hot": np.eye(3)[labels],
        "column": labels[:, None],
        "floats": labels.astype(float),
        "list": [int(label) for label in labels],
    }[kind]
    assert kd.retrieval.recall_at_k(embeddings, given) == expected


def test_memory_is_bounded():
    """All pairs of 6,000 images at once would be 144 MB."""
    embeddings, labels = embedded_classes(6_000, 120, 16)
    names = ["recall@1", "map@r", "verification_auc", "equal_error_rate", "triplet_accuracy"]
    tracemalloc.start()
    kd.retrieval.evaluate(embeddings, labels, names, memory=8 * 2**20)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert used < 40 * 2**20


FOUR = np.eye(4, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"labels": [0, 0, 1]},
            ValueError,
            "labels must have one entry for each of the 4 rows. Received: 3",
        ),
        ({"labels": [0, 1, 2, 3]}, ValueError, "no class has two images among the 4"),
        ({"labels": np.ones((4, 2))}, ValueError, "must be one-hot"),
        ({"labels": np.ones((4, 1, 1))}, ValueError, r"labels must have the shape .*\(4, 1, 1\)"),
        ({"labels": [0, 0, 1, np.nan]}, ValueError, "labels must not hold NaN"),
        ({"embeddings": FOUR * np.nan}, ValueError, "must be finite.*4 of 4"),
        ({"embeddings": np.zeros((0, 3)), "labels": []}, ValueError, "no class has two images"),
        ({"embeddings": FOUR[0]}, ValueError, "embeddings must have the shape"),
        ({"metric": "l1"}, ValueError, "metric must be one of .* Received: 'l1'"),
        ({"measures": []}, ValueError, r"measures must be a list of names. Received: \[\]"),
        ({"measures": ["recall@0"]}, ValueError, "measures must be among .*'recall@0'"),
        ({"measures": ["map"]}, ValueError, "measures must be among .*'map'"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, error, message):
    given = {"embeddings": FOUR, "labels": [0, 0, 1, 1], **arguments}
    with pytest.raises(error, match=message):
        kd.retrieval.evaluate(**given)


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one(k):
    with pytest.raises(ValueError, match=f"k must be an integer of at least 1. Received: {k}"):
        kd.retrieval.recall_at_k(FOUR, [0, 0, 1, 1], k)
    with pytest.raises(ValueError, match="k must hold at least one number"):
        kd.retrieval.recall_at_k(FOUR, [0, 0, 1, 1], [])


@pytest.mark.parametrize("measure", ["verification_auc", "equal_error_rate", "triplet_accuracy"])
@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3]])
def test_pairs_of_one_kind_only(measure, labels):
    with pytest.raises(ValueError, match="labels must have two classes"):
        getattr(kd.retrieval, measure)(FOUR, labels)


def test_clusters_beyond_the_embeddings():
    with pytest.raises(
        ValueError, match="clusters must be at most 4, the number of embeddings. Received: 5"
    ):
        kd.retrieval.normalized_mutual_information(FOUR, [0, 0, 1, 1], clusters=5)
