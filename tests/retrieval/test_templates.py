"""Identification by templates, and the threshold from which on someone is unknown."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_dlcourse as kd
from keras_dlcourse.retrieval import Templates, open_set_threshold


def identity(dimension=6):
    return keras.Sequential([keras.Input((dimension,)), keras.layers.Identity()])


def people(count=5, each=12, noise=0.3, seed=0):
    rng = np.random.default_rng(seed)
    faces = rng.standard_normal((count, 6))
    labels = np.repeat([f"person {number}" for number in range(count)], each)
    images = np.repeat(faces, each, axis=0) + noise * rng.standard_normal((count * each, 6))
    return images.astype("float32"), labels


@pytest.mark.parametrize("by", ["template", "class_mean"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_nearest_of_all(by, metric):
    images, labels = people(noise=1.0)
    templates = Templates(identity(), by=by, metric=metric)
    templates.add(images[::2], labels[::2])
    found = templates.identify(images[1::2])

    def far(one, other):
        if metric == "euclidean":
            return np.linalg.norm(one - other)
        return 1 - one @ other / np.linalg.norm(one) / np.linalg.norm(other)

    gallery, names = images[::2].astype("float64"), labels[::2]
    if by == "class_mean":
        if metric == "cosine":
            gallery = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
        gallery = np.array([gallery[names == name].mean(0) for name in templates.classes])
        names = np.array(templates.classes)
    for image, answer in zip(images[1::2].astype("float64"), found, strict=True):
        distances = [far(image, template) for template in gallery]
        assert answer.label == names[np.argmin(distances)]
        assert answer.distance == pytest.approx(min(distances), abs=1e-5)


def test_a_new_class_needs_its_templates_only_and_each_is_computed_once():
    calls = []

    class Counting(keras.layers.Layer):
        def call(self, x):
            return x

    images, labels = people()
    templates = Templates(keras.Sequential([keras.Input((6,)), Counting()]))
    extract = templates._extract
    templates._extract = lambda data: calls.append(len(data)) or extract(data)
    templates.add(images[:24:2], labels[:24:2])
    assert {each.label for each in templates.identify(images[24:36])} <= {"person 0", "person 1"}
    templates.add(images[24:36:2], labels[24:36:2])
    assert {each.label for each in templates.identify(images[25:36:2])} == {"person 2"}
    templates.remove("person 2")
    assert templates.classes == ["person 0", "person 1"] and len(templates.embeddings) == 12
    assert calls == [12, 12, 6, 6]
    with pytest.raises(KeyError, match="no template has the label 'person 2'. Known labels:"):
        templates.remove("person 2")


@given(
    st.lists(st.floats(0, 4, width=16), min_size=1, max_size=30),
    st.lists(st.floats(0, 4, width=16), min_size=1, max_size=30),
    st.floats(0, 1),
)
@settings(max_examples=200)
def test_the_largest_threshold_within_the_rate(known, strangers, rate):
    chosen = open_set_threshold(known, strangers, rate)

    def accepted(values, threshold):
        return sum(value <= threshold for value in values) / len(values)

    assert chosen.false_accept_rate == pytest.approx(accepted(strangers, chosen.threshold))
    assert chosen.true_accept_rate == pytest.approx(accepted(known, chosen.threshold))
    assert chosen.false_accept_rate <= rate + 1e-9
    for larger in strangers:  # any threshold that lets one more in lets too many in
        if larger > chosen.threshold:
            assert accepted(strangers, larger) > rate - 1e-9


@pytest.mark.parametrize("by", ["template", "class_mean"])
def test_strangers_are_unknown_at_the_rate_asked_for(by):
    images, labels = people(count=60, each=30)
    known = np.isin(labels, [f"person {number}" for number in range(20)])
    rank = np.arange(len(images)) % 3
    templates = Templates(identity(), by=by)
    templates.add(images[known & (rank == 0)], labels[known & (rank == 0)])
    chosen = templates.choose_threshold(images[rank == 1], labels[rank == 1], 0.05)
    assert templates.threshold == chosen.threshold and chosen.false_accept_rate <= 0.05
    found = np.array([each.label for each in templates.identify(images[rank == 2])])
    truth = labels[rank == 2]
    stranger = ~known[rank == 2]
    assert np.mean(found[stranger] != kd.retrieval.UNKNOWN) < 0.12
    believed = found[~stranger] != kd.retrieval.UNKNOWN
    assert abs(believed.mean() - chosen.true_accept_rate) < 0.12
    assert np.mean(found[~stranger][believed] == truth[~stranger][believed]) > 0.9


def test_without_strangers_each_class_plays_them():
    images, labels = people(count=4)
    templates = Templates(identity(), metric="euclidean")
    templates.add(images[::2], labels[::2])
    chosen = templates.choose_threshold(images[1::2], labels[1::2], 0.1)
    near, other = [], []
    for image, label in zip(images[1::2], labels[1::2], strict=True):
        far = np.linalg.norm(images[::2].astype("float64") - image, axis=1)
        near.append(far.min())
        other.append(far[labels[::2] != label].min())
    expected = open_set_threshold(near, other, 0.1)
    np.testing.assert_allclose(chosen, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda t: t.identify(np.ones((1, 6))), ValueError, "there are no templates"),
        (lambda t: t.embeddings, ValueError, "there are no templates"),
        (
            lambda t: t.add(np.ones((2, 6)), ["a"]),
            ValueError,
            "labels must have one entry for each of the 2",
        ),
        (lambda t: t.add(np.full((1, 6), np.nan), ["a"]), ValueError, "NaN or infinity for 1 of 1"),
        (lambda t: Templates("model"), TypeError, "model must be a keras.Model"),
        (lambda t: Templates(identity(), by="vote"), ValueError, "by must be one of 'template'"),
        (lambda t: Templates(identity(), metric="x"), ValueError, "metric must be one of"),
        (
            lambda t: Templates(identity(), threshold="x"),
            TypeError,
            "threshold must be a distance",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(Templates(identity()))


def test_thresholds_that_cannot_be_chosen():
    images, labels = people(count=2)
    templates = Templates(identity())
    templates.add(images[:6], labels[:6])
    with pytest.raises(ValueError, match="only one known class"):
        templates.choose_threshold(images[6:12], labels[6:12])
    with pytest.raises(ValueError, match="no validation image is of a known class"):
        templates.choose_threshold(images[12:], labels[12:])
    with pytest.raises(
        ValueError, match="false_accept_rate must be a number from 0 to 1. Received: 2"
    ):
        open_set_threshold([1], [2], 2)
    with pytest.raises(ValueError, match="strangers must be distances"):
        open_set_threshold([1], [])
    with pytest.raises(ValueError, match="known must be distances.*1 NaN"):
        open_set_threshold([np.nan], [1])
