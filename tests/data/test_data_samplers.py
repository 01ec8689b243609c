"""Batches for metric learning: balance, coverage, and an order that seed and epoch decide."""

from __future__ import annotations

import random

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import tree

import keras_dlcourse as kd
from keras_dlcourse.data import PairSampler, PKSampler, TripletSampler

# Images of each class, and a seed.
COUNTS = st.lists(st.integers(2, 9), min_size=2, max_size=7)
SEEDS = st.integers(0, 2**31)


def _data(counts, seed=0):
    """Images whose pixel is their number, so that a batch tells which they are."""
    labels = np.repeat(np.arange(len(counts)) * 3 + 1, counts)  # no consecutive numbers
    labels = np.random.default_rng(seed).permutation(labels)
    return np.arange(len(labels), dtype="float32").reshape(-1, 1, 1, 1), labels


def _numbers(images):
    return images[:, 0, 0, 0].astype(int)


@given(COUNTS, st.integers(2, 7), st.integers(2, 5), SEEDS, st.integers(0, 3))
def test_p_classes_with_k_images_each_and_all_in_turn(counts, p, k, seed, epoch):
    p = min(p, len(counts))
    images, labels = _data(counts)
    sampler = PKSampler((images, labels), p, k, seed=seed)
    sampler.begin_pass(training=True)
    seen = np.zeros(len(labels), int)
    times = dict.fromkeys(np.unique(labels).tolist(), 0)
    for x, y in sampler:
        chosen, sizes = np.unique(y, return_counts=True)
        assert len(chosen) == p and (sizes == k).all()
        np.testing.assert_array_equal(labels[_numbers(x)], y)
        for label in chosen.tolist():
            times[label] += 1
            own = _numbers(x)[y == label]
            assert len(own) == k
        np.add.at(seen, _numbers(x), 1)
    assert min(times.values()) >= 1 and max(times.values()) - min(times.values()) <= 1
    for label in times:
        own = seen[labels == label]
        assert own.max() - own.min() <= 1, "images of a class take turns"
    again = PKSampler((images, labels), p, k, seed=seed)
    np.testing.assert_array_equal(again.plan(epoch), sampler.plan(epoch))


@settings(max_examples=50)
@given(COUNTS, st.integers(1, 9), SEEDS)
def test_half_of_the_pairs_are_of_one_class(counts, batch_size, seed):
    images, labels = _data(counts)
    sampler = PairSampler((images, labels), batch_size, seed)
    firsts, unlike = [], []
    for (left, right), different in sampler:
        one, other = _numbers(left), _numbers(right)
        assert (one != other).all()
        np.testing.assert_array_equal(labels[one] != labels[other], different == 1)
        firsts += one.tolist()
        unlike += different.tolist()
    assert sorted(firsts) == list(range(len(labels))), "each image is first once"
    assert sum(unlike) == len(unlike) // 2
    same = PairSampler((images, labels), batch_size, seed, different=0)
    assert [1 - d for _, y in same for d in y.tolist()] == unlike


@settings(max_examples=50)
@given(COUNTS, st.integers(1, 9), SEEDS)
def test_triplets_are_triplets(counts, batch_size, seed):
    images, labels = _data(counts)
    anchors = []
    for (anchor, positive, negative), y in TripletSampler((images, labels), batch_size, seed):
        a, p, n = map(_numbers, (anchor, positive, negative))
        assert (a != p).all() and (labels[a] == labels[p]).all() and (labels[a] != labels[n]).all()
        np.testing.assert_array_equal(labels[a], y)
        anchors += a.tolist()
    assert sorted(anchors) == list(range(len(labels)))


def test_partners_are_drawn_alike():
    images, labels = _data([4, 2, 3])
    sampler = TripletSampler((images, labels))
    rows = np.concatenate([sampler.plan(epoch) for epoch in range(400)])
    of_first = rows[rows[:, 0] == np.flatnonzero(labels == 1)[0]]
    positives = np.unique(of_first[:, 1], return_counts=True)[1]
    assert len(positives) == 3 and positives.min() > 0.7 * positives.max()
    classes = np.unique(labels[of_first[:, 2]], return_counts=True)[1]
    assert len(classes) == 2 and classes.min() > 0.75 * classes.max(), "other classes, not images"


@pytest.mark.parametrize("sampler", [PKSampler, PairSampler, TripletSampler])
def test_fit_sees_the_plans_of_seed_and_epoch(sampler):
    images, labels = _data([6, 5, 7])
    data = sampler((images, labels), 2) if sampler is PKSampler else sampler((images, labels), 4)
    seen = []

    count = {PKSampler: 1, PairSampler: 2, TripletSampler: 3}[sampler]
    inputs = [keras.Input((1, 1, 1)) for _ in range(count)]
    flat = [keras.layers.Flatten()(x) for x in inputs]
    joined = flat[0] if len(flat) == 1 else keras.layers.Concatenate()(flat)
    model = keras.Model(inputs if len(inputs) > 1 else inputs[0], keras.layers.Dense(1)(joined))

    def loss(y_true, y_pred):
        return keras.ops.mean(y_pred * 0, axis=-1)

    original = data.one_pass

    def recording(first=0):
        rows = []
        seen.append(rows)
        for batch in original(first):
            x = batch[0] if isinstance(batch[0], tuple) else (batch[0],)
            rows.append(np.stack([_numbers(part) for part in x], axis=-1))
            yield batch

    def whole_passes():
        # Keras looks at a first batch to build a model, and leaves that pass unfinished.
        return [np.concatenate(rows) for rows in seen if len(rows) == len(data)]

    data.one_pass = recording
    model.compile("sgd", loss)
    random.seed(5)
    model.fit(data, epochs=3, verbose=0)
    assert data.epoch == 3
    plans = [np.atleast_2d(sampler.plan(data, e).T).T for e in range(3)]
    np.testing.assert_array_equal(whole_passes(), plans)
    state = data.state_dict()
    other = sampler((images, labels), 2) if sampler is PKSampler else sampler((images, labels), 4)
    other.load_state_dict(state)
    assert other.epoch == 3 and other.seed == data.seed
    seen.clear()
    model.evaluate(data, verbose=0)
    assert data.epoch == 3, "evaluate counts no epoch"
    np.testing.assert_array_equal(whole_passes(), plans[:1])


def test_a_pipeline_s_normalization_is_applied():
    images = np.arange(8, dtype="uint8").reshape(-1, 1, 1, 1)
    norm = kd.data.Normalization((2.0,), (4.0,))
    data = kd.data.pipeline(images, np.arange(8) % 2, normalization=norm)
    (left, _), _ = PairSampler(data, batch_size=8)[0]
    np.testing.assert_allclose(np.sort(left.ravel()), (np.arange(8) - 2) / 4)


@pytest.mark.parametrize(
    ("sampler", "options"), [(PKSampler, {"classes": 2}), (PairSampler, {}), (TripletSampler, {})]
)
def test_labels_may_be_a_column(sampler, options):
    images, labels = _data([3, 4])
    one, other = (sampler((images, y), **options) for y in (labels, labels[:, None]))
    np.testing.assert_array_equal(one.plan(0), other.plan(0))
    for array, expected in zip(tree.flatten(other[0]), tree.flatten(one[0]), strict=True):
        np.testing.assert_array_equal(array, expected)


GOOD = _data([3, 3])
BAD = [
    (
        PKSampler,
        (GOOD, 2, 1),
        {},
        ValueError,
        "images must be an integer of at least 2. Received: 1",
    ),
    (PKSampler, (GOOD, 1), {}, ValueError, "classes must be an integer of at least 2. Received: 1"),
    (
        PKSampler,
        (GOOD, 3),
        {},
        ValueError,
        "classes must be at most 2, the number of classes in data",
    ),
    (PKSampler, (GOOD,), {"batches": 0}, ValueError, "batches must be an integer of at least 1"),
    (PairSampler, (GOOD,), {"batch_size": 1.5}, TypeError, "batch_size must be an integer"),
    (PairSampler, (GOOD,), {"different": 2}, ValueError, "different must be one of 0, 1.*2"),
    (PairSampler, (GOOD,), {"seed": -1}, ValueError, "seed must be an integer of at least 0"),
    (TripletSampler, (_data([3, 1, 1]),), {}, ValueError, "2 images or more. Class 4 has 1, and 1"),
    (TripletSampler, (_data([5]),), {}, ValueError, "two or more classes. Received: 1"),
    (TripletSampler, ((GOOD[0], np.eye(6)),), {}, ValueError, r"integer labels.*\(6, 6\)"),
    (TripletSampler, (kd.data.pipeline(GOOD[0]),), {}, ValueError, "integer labels.*None"),
    (TripletSampler, (GOOD[0],), {}, TypeError, "must be a kd.data.Pipeline.*ndarray"),
]


@pytest.mark.parametrize(("sampler", "arguments", "options", "kind", "message"), BAD)
def test_mistakes_are_said(sampler, arguments, options, kind, message):
    with pytest.raises(kind, match=message):
        sampler(*arguments, **options)
    with pytest.raises(ValueError, match="PairSampler with 7 examples, but this one has 6"):
        PairSampler(GOOD).load_state_dict({"examples": 7, "seed": 0, "epoch": 1})
