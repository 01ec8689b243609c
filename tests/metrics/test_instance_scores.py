"""Objects are paired as by trying every assignment."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from keras_dlcourse.metrics import instance_scores


def _best(true, predicted, least):
    """Return the most pairs, with the highest IoUs, of all ways to pair the objects of an image."""
    ours, theirs = ([n for n in np.unique(mask) if n] for mask in (true, predicted))
    overlap = {
        (a, b): np.sum((true == a) & (predicted == b)) / np.sum((true == a) | (predicted == b))
        for a in ours
        for b in theirs
    }
    few, many = sorted((ours, theirs), key=len)
    best = []
    for order in permutations(many, len(few)):
        pairs = zip(few, order, strict=True)
        pairs = [pair if few is ours else pair[::-1] for pair in pairs]
        found = [overlap[pair] for pair in pairs if overlap[pair] >= least]
        best = max(best, found, key=lambda some: (len(some), sum(some)))
    return best, len(ours), len(theirs)


def _blocks(seed):
    """Return random rectangles, each with a number; later ones cover earlier ones."""
    rng, mask = np.random.default_rng(seed), np.zeros((10, 12), int)
    for number in rng.permutation([3, 7, 8, 20, 21])[: rng.integers(2, 6)]:
        top, left = rng.integers(0, 7), rng.integers(0, 8)
        mask[top : top + rng.integers(2, 6), left : left + rng.integers(2, 6)] = number
    return mask


@pytest.mark.parametrize("least", [0.1, 0.25, 0.5])
def test_against_every_assignment(least):
    pairs = [(_blocks(seed), _blocks(100 + seed % 7)) for seed in range(20)]
    pairs += [(one, np.roll(one, 1, axis=1)) for one, _ in pairs[:5]]
    expected = [_best(*pair, least) for pair in pairs]
    found = instance_scores(*np.stack(pairs, axis=1), least)
    ious = [value for some, _, _ in expected for value in some]
    ours, theirs = (sum(each[place] for each in expected) for place in (1, 2))
    assert found.found == len(ious) > 3
    assert (found.missed, found.invented) == (ours - len(ious), theirs - len(ious))
    assert found.mean_iou == pytest.approx(np.mean(ious))
    assert found.precision == pytest.approx(len(ious) / theirs)
    assert found.recall == pytest.approx(len(ious) / ours)
    harmonic = 2 * found.precision * found.recall / (found.precision + found.recall)
    assert found.f1 == pytest.approx(harmonic)


def test_halves_of_an_object_count_once():
    true = np.ones((1, 2, 4), int)
    predicted = np.repeat([[[1, 2]]], 2, axis=1).repeat(2, axis=2)
    found = instance_scores(true, predicted)  # both halves have an IoU of 0.5
    assert (found.found, found.missed, found.invented) == (1, 0, 1)


def test_nothing_is_there():
    empty = np.zeros((2, 3, 3), int)
    found = instance_scores(empty, empty)
    assert (found.found, found.missed, found.invented) == (0, 0, 0) and np.isnan(found.f1)
    some = empty.copy()
    some[0, 0, 0] = 1
    assert instance_scores(some, empty).recall == 0 == instance_scores(empty, some).f1
    assert np.isnan(instance_scores(some, empty).precision)


@pytest.mark.parametrize(
    ("true", "iou", "error", "match"),
    [
        (np.zeros((1, 2, 2)), 0.5, TypeError, "true must be class numbers. Received: float64"),
        (np.zeros((1, 2, 3), int), 0.5, ValueError, "of the same shape. Received"),
        (np.zeros((1, 2, 2), int), 0, ValueError, "iou must be .* above 0"),
    ],
)
def test_errors_say_what_is_wrong(true, iou, error, match):
    with pytest.raises(error, match=match):
        instance_scores(true, np.zeros((1, 2, 2), int), iou)
