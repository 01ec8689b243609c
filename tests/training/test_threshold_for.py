"""Thresholds that keep a promise, against trying every one, and against scikit-learn's curves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_score, recall_score, roc_curve

import keras_dlcourse as kd


def _achieved(y, scores, threshold):
    """Return false positive rate, recall and precision by scikit-learn."""
    said = scores >= threshold
    recall = recall_score(y, said)
    return said[y == 0].mean(), recall, precision_score(y, said, zero_division=np.nan)


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(2, 40),
    steps=st.integers(1, 12),
    wish=st.sampled_from(("fpr", "recall", "precision")),
    value=st.floats(0.01, 0.99),
    dtype=st.sampled_from(("float32", "float64")),
)
def test_no_other_threshold_keeps_it_better(seed, n, steps, wish, value, dtype):
    """Few steps make many ties; every threshold at and between scores is tried."""
    rng = np.random.default_rng(seed)
    y = np.append(rng.integers(0, 2, n), [0, 1])
    scores = (rng.integers(0, steps, n + 2) / steps - 0.3).astype(dtype)
    tried = [_achieved(y, scores, least) for least in np.unique(scores)]
    numbers = {"fpr": 0, "recall": 1, "precision": 2}
    kept = [
        one
        for one in tried
        if one[1] > 0 and (one[0] <= value if wish == "fpr" else one[numbers[wish]] >= value)
    ]
    if not kept:
        with pytest.raises(ValueError, match=f"{wish}={value:g} cannot be met") as error:
            kd.training.threshold_for(y, scores, **{wish: value})
        possible = [one[numbers[wish]] for one in tried if one[1] > 0]
        nearest = min(possible) if wish == "fpr" else max(possible)
        assert f"{nearest:.4g}" in str(error.value)
        return
    best = max(kept, key=lambda one: (-one[0], one[1]) if wish == "recall" else (one[1], -one[0]))
    point = kd.training.threshold_for(y, scores, **{wish: value})
    assert (point.fpr, point.recall, point.precision) == pytest.approx(best)
    assert _achieved(y, scores, np.dtype(dtype).type(point.threshold)) == pytest.approx(best)
    assert point.on(y, scores) == point


@pytest.mark.parametrize("fpr", [0.0, 0.01, 0.05, 0.3])
def test_it_is_a_point_of_scikit_learns_curve(fpr):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 2000)
    scores = rng.normal(size=2000) + 2 * y
    rates, recalls, _ = roc_curve(y, scores, drop_intermediate=False)
    point = kd.training.threshold_for(y, scores, fpr=fpr)
    assert point.recall == recalls[rates <= fpr].max()
    assert point.fpr == rates[(rates <= fpr) & (recalls == point.recall)].min()
    assert (point.positives, point.negatives) == (y.sum(), 2000 - y.sum())


def test_it_lies_midway_and_says_what_it_achieves():
    y, scores = np.array([0, 0, 0, 1, 1]), np.array([0.1, 0.2, 0.6, 0.6, 0.9])
    point = kd.training.threshold_for(y, scores, recall=0.5)
    assert point.threshold == pytest.approx(0.75)
    assert (
        str(point)
        == "threshold 0.75: recall 50.0% of 2, false positives 0.00% of 3, precision 100.0%"
    )
    lower = kd.training.threshold_for(y == 1, scores[:, None], recall=1.0)  # the tie goes with it
    assert (lower.threshold, lower.true_positives, lower.false_positives) == (0.4, 2, 1)
    assert kd.training.threshold_for([0, 1], [0.3, 0.3], recall=1).threshold == 0.3


def test_neighbours_among_floats():
    for dtype in ("float16", "float32", "float64"):
        lower = np.array(0.3, dtype)
        upper = np.nextafter(lower, np.array(1, dtype))
        point = kd.training.threshold_for([0, 1], np.array([lower, upper]), fpr=0)
        assert lower < point.threshold <= upper


def test_on_other_data():
    point = kd.training.threshold_for([0, 1], [0.2, 0.8], fpr=0)
    other = point.on([0, 0, 0, 1], [0.6, 0.1, 0.4, 0.9])
    assert (other.threshold, other.fpr, other.recall, other.precision) == (0.5, 1 / 3, 1, 0.5)
    none = point.on([0, 0], [0.1, 0.2])
    assert np.isnan(none.recall) and np.isnan(none.precision) and none.fpr == 0


@pytest.mark.parametrize(
    ("labels", "scores", "wishes", "message"),
    [
        ([0, 1], [0.1, 0.9], {}, "exactly one of fpr, recall and precision.*Received: none"),
        ([0, 1], [0.1, 0.9], {"fpr": 0.1, "recall": 0.5}, "exactly one.*'fpr': 0.1, 'recall'"),
        (
            [0, 1],
            [0.1, 0.9],
            {"fpr": 1.0},
            "fpr must be a number of at least 0 and below 1. Received: 1.0",
        ),
        (
            [0, 1],
            [0.1, 0.9],
            {"recall": 95},
            "recall must be a number above 0 and at most 1. Received: 95",
        ),
        ([0, 1], [0.1, 0.9], {"precision": float("nan")}, "precision must be a number above 0"),
        ([0, 3], [0.1, 0.9], {"fpr": 0.1}, "0 and 1. Received: .*3.*pass y == 3 for class 3"),
        ([0, 1], [[0.1, 0.9]] * 2, {"fpr": 0.1}, r"Received: shapes \(2,\) and \(2, 2\)"),
        ([1, 1], [0.1, 0.9], {"fpr": 0.1}, "positives and negatives. Received: 2 positives and 0"),
        ([0, 1], [0.1, float("inf")], {"fpr": 0.1}, "scores must be finite"),
        ([0, 1], [0.9, 0.1], {"fpr": 0.1}, "fpr=0.1 cannot be met: negatives have the highest"),
        ([0, 1], [0.9, 0.1], {"precision": 0.9}, "the highest value .* is 0.5, at a recall of 1"),
    ],
)
def test_what_is_refused(labels, scores, wishes, message):
    with pytest.raises(ValueError, match=message):
        kd.training.threshold_for(labels, scores, **wishes)
