import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_dlcourse as kd
from keras_dlcourse.data.split import split_indices


@settings(deadline=None, max_examples=60)
@given(
    counts=st.lists(st.integers(3, 40), min_size=1, max_size=6),
    fractions=st.tuples(st.floats(0.01, 0.49), st.floats(0.01, 0.49)),
    seed=st.integers(0, 1000),
)
def test_parts_are_disjoint_whole_and_stratified(counts, fractions, seed):
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    parts = split_indices(y, fractions, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(y)))
    for label, count in enumerate(counts):
        sizes = [int((y[part] == label).sum()) for part in parts]
        assert min(sizes) >= 1
        for size, fraction in zip(sizes[1:], fractions, strict=True):
            assert size <= max(1, round(fraction * count))
            # As much as asked for, unless another part needs its one example.
            assert size >= min(round(fraction * count), count - 2) or sizes[0] == 1
    again = split_indices(y, fractions, seed)
    assert all((a == b).all() for a, b in zip(parts, again, strict=True))


def test_split_returns_pairs_that_belong_together():
    x, y = np.arange(100), np.repeat(["cat", "dog"], [80, 20])
    (x_rest, y_rest), (x_held, y_held) = kd.data.split(x, y, 0.25, seed=1)
    assert ((y_held == "cat").sum(), (y_held == "dog").sum()) == (20, 5)
    np.testing.assert_array_equal(y[x_held], y_held)
    np.testing.assert_array_equal(y[x_rest], y_rest)
    assert sorted([*x_rest, *x_held]) == list(range(100))
    assert (kd.data.split(x, y, 0.25, seed=2)[1][0] != x_held).any()
    # Chosen at random within a class, not its first or last examples.
    assert 20 < x_held[:20].mean() < 60


def test_one_hot_labels_are_stratified_by_their_class():
    y = np.eye(3)[np.repeat([0, 1, 2], 10)]
    (_, rest), (_, held) = kd.data.split(np.arange(30), y, 0.2)
    np.testing.assert_array_equal(held.sum(0), [2, 2, 2])
    assert rest.shape == (24, 3)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_fraction_out_of_range(fraction):
    with pytest.raises(
        ValueError, match=f"fraction must be a number above 0 and below 1. Received: {fraction}"
    ):
        kd.data.split(np.arange(10), np.arange(10) % 2, fraction)


def test_a_class_of_one_and_unequal_lengths():
    with pytest.raises(ValueError, match="Class 7 has 1 example, but each of the 2 parts"):
        kd.data.split(np.arange(4), [0, 0, 7, 0], 0.5)
    with pytest.raises(ValueError, match="one label for each of the 4 examples"):
        kd.data.split(np.arange(4), [0, 1], 0.5)
    with pytest.raises(ValueError, match="seed must be an integer of at least 0"):
        kd.data.split(np.arange(4), [0, 1, 0, 1], 0.5, seed=-1)


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=4, max_size=30),
    fraction=st.floats(0.05, 0.6),
    seed=st.integers(0, 1000),
)
def test_no_group_is_on_both_sides(sizes, fraction, seed):
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(sizes)) % 7 * 100 + np.arange(len(sizes)), sizes)
    groups = random.permutation(groups)
    y = (groups % 2).astype(str)  # two classes, in two groups or more each
    (x_rest, y_rest), (x_held, y_held) = kd.data.split(
        np.arange(len(y)), y, fraction, seed, groups=groups
    )
    assert sorted([*x_rest, *x_held]) == list(range(len(y)))
    assert not set(groups[x_rest]) & set(groups[x_held])
    assert set(y_rest) == set(y_held) == set(y)
    np.testing.assert_array_equal(y[x_held], y_held)
    again = kd.data.split(np.arange(len(y)), y, fraction, seed, groups=groups)[1][0]
    np.testing.assert_array_equal(again, x_held)


def test_groups_of_unequal_size_and_mixed_classes_are_still_stratified():
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), random.integers(2, 40, 60))
    y = (random.random(len(groups)) < 0.2 + 0.01 * groups).astype(int)
    (_, y_rest), (_, y_held) = kd.data.split(np.arange(len(y)), y, 0.25, groups=groups)
    np.testing.assert_allclose(np.bincount(y_held) / np.bincount(y), 0.25, atol=0.01)
    assert len(y_rest) + len(y_held) == len(y)
    one_hot = np.eye(2)[y]
    found = kd.data.split(np.arange(len(y)), one_hot, 0.25, groups=groups)[1][1]
    np.testing.assert_array_equal(found.argmax(1), y_held)


def test_groups_that_cannot_be_split():
    with pytest.raises(ValueError, match="Class 1 is in only one group, but each of the 2 parts"):
        kd.data.split(np.arange(4), [0, 0, 1, 1], 0.5, groups=["a", "b", "c", "c"])
    with pytest.raises(
        ValueError, match=r"one entry for each of the 4 examples. Received: shape \(3,\)"
    ):
        kd.data.split(np.arange(4), [0, 0, 1, 1], 0.5, groups=[1, 2, 3])
    # Each group holds two classes in a ring of three: whichever goes, one class is on one side.
    y, groups = np.array([0, 1, 1, 2, 2, 0]), np.array([0, 0, 1, 1, 2, 2])
    with pytest.raises(ValueError, match="Found no split of the groups with class . in both parts"):
        kd.data.split(np.arange(6), y, 0.5, groups=groups)
    with pytest.raises(ValueError, match="seed must be an integer of at least 0"):
        kd.data.split(np.arange(4), [0, 1, 0, 1], 0.5, seed=-1, groups=[0, 1, 2, 3])


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=6, max_size=30),
    fractions=st.tuples(st.floats(0.05, 0.3), st.floats(0.05, 0.3)),
    seed=st.integers(0, 1000),
)
def test_no_group_is_in_two_of_three_parts(sizes, fractions, seed):
    random = np.random.default_rng(seed)
    groups = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    y = groups % 2  # two classes, in three groups or more each
    parts = split_indices(y, fractions, seed, groups)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(y)))
    assert sum(len(set(groups[part])) for part in parts) == len(sizes)
    assert all(set(y[part]) == {0, 1} for part in parts)
    again = split_indices(y, fractions, seed, groups)
    assert all((a == b).all() for a, b in zip(parts, again, strict=True))


def test_three_parts_by_group_have_the_sizes_asked_for():
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(100), random.integers(2, 40, 100))
    y = (random.random(len(groups)) < 0.2 + 0.006 * groups).astype(int)
    parts = split_indices(y, (0.1, 0.2), 0, groups)
    for part, fraction in zip(parts, (0.7, 0.1, 0.2), strict=True):
        np.testing.assert_allclose(np.bincount(y[part]) / np.bincount(y), fraction, atol=0.01)
    with pytest.raises(ValueError, match="Class 1 is in only 2 groups, but each of the 3 parts"):
        split_indices(np.array([0, 0, 0, 1, 1]), (0.2, 0.2), 0, np.array([0, 1, 2, 3, 4]))


@settings(deadline=None, max_examples=40)
@given(
    counts=st.lists(st.integers(3, 40), min_size=2, max_size=5),
    fractions=st.tuples(st.floats(0.05, 0.3), st.floats(0.05, 0.3)),
    none=st.integers(0, 20),
    seed=st.integers(0, 1000),
)
def test_parts_of_examples_with_several_classes(counts, fractions, none, seed):
    random = np.random.default_rng(seed)
    n = max(counts) + none
    y = np.stack([random.permutation(np.arange(n) < count) for count in counts], axis=1).astype(int)
    y[random.random(y.shape) < 0.05] *= -1  # 0 stays 0, 1 becomes unknown
    y[:3] = 1  # each class remains in three examples
    parts = split_indices(y, fractions, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(n))
    assert all((y[part] == 1).any(axis=0).all() for part in parts)


def test_classes_of_several_per_example_are_stratified():
    random = np.random.default_rng(0)
    y = (random.random((1000, 4)) < [0.02, 0.1, 0.5, 0.05]).astype(int)
    parts = split_indices(y, (0.1, 0.2))
    for part, fraction in zip(parts, (0.7, 0.1, 0.2), strict=True):
        np.testing.assert_allclose(y[part].sum(axis=0) / y.sum(axis=0), fraction, atol=0.06)
        without = ~y.any(axis=1)
        np.testing.assert_allclose(without[part].sum() / without.sum(), fraction, atol=0.02)
    with pytest.raises(ValueError, match="Class 1 is in only one example, but each of the 2 parts"):
        kd.data.split(np.arange(3), [[1, 1], [1, 0], [0, 0]], 0.4)
