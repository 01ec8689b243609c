"""The bootstrap: how often the interval holds the truth, and SciPy's own."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, bootstrap
from sklearn.metrics import accuracy_score, roc_auc_score

from keras_dlcourse.report import confidence_interval


def _data(seed=0, n=80):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    return y, y + rng.normal(0, 1.2, n)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_it_is_scipys(method):
    y, scores = _data()
    found = confidence_interval(
        roc_auc_score, y, scores, level=0.9, samples=200, method=method, seed=3
    )
    theirs = bootstrap(
        (y, scores), roc_auc_score, paired=True, vectorized=False, n_resamples=200,
        confidence_level=0.9, method=method, rng=np.random.default_rng(3),
    ).confidence_interval  # fmt: skip
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))
    assert found.value == roc_auc_score(y, scores) and found.low < found.value < found.high


def test_it_holds_the_truth_as_often_as_it_says():
    """The share of right answers is binomial: 300 experiments of 100 examples, 80 % right."""
    rng, hits = np.random.default_rng(0), 0
    labels = np.zeros(100, int)
    for seed in range(300):
        wrong = (rng.random(100) > 0.8).astype(int)
        found = confidence_interval(
            lambda y, said: np.mean(y == said), labels, wrong, level=0.9, samples=300, seed=seed
        )
        hits += found.low <= 0.8 <= found.high
    # Counts are whole, so that no interval is exact; a tenth of a per cent of luck to both sides.
    assert binom.ppf(1e-3, 300, 0.86) <= hits <= binom.ppf(1 - 1e-3, 300, 0.92)


def test_it_narrows_with_the_root_of_the_data():
    widths = []
    for n in (100, 1600):
        y, said = np.zeros(n, int), (np.arange(n) % 4 == 0).astype(int)
        found = confidence_interval(accuracy_score, y, said, samples=300)
        widths.append(found.high - found.low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.15)


def test_draws_without_a_class_are_left_out_while_they_are_few():
    y = np.array([1] * 5 + [0] * 45)
    scores = np.linspace(1, 0, 50)

    def area(labels, values):
        return roc_auc_score(labels, values) if labels.any() else np.nan

    found = confidence_interval(area, y, scores, samples=1000)
    assert (found.value, found.low, found.high) == pytest.approx((1, 1, 1))
    with pytest.raises(
        ValueError, match=r"undefined on \d+ of 200 samples, .* a class has too few"
    ):
        confidence_interval(area, y[4:], scores[4:], samples=200)


def test_the_same_seed_gives_the_same_and_it_prints():
    y, scores = _data()
    first, again, other = (
        confidence_interval(roc_auc_score, y, scores, samples=50, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again != other
    assert str(first).startswith(f"{first.value:.3f} ({first.low:.3f} to")


def _accuracy(y, said):
    return np.mean(y == said)


@pytest.mark.parametrize(
    ("labels", "said", "options", "message"),
    [
        ([0, 1], [0], {}, r"Received: shapes \(2,\) and \(1,\)"),
        ([0], [0], {}, "of at least 2"),
        (0, 1, {}, r"Received: shapes \(\) and \(\)"),
        ([0, 1], [0, 1], {"level": 95}, "level must be a number above 0 and below 1. Received: 95"),
        ([0, 1], [0, 1], {"samples": 0}, "samples must be an integer of at least 1. Received: 0"),
        ([0, 1], [0, 1], {"method": "basic"}, "'percentile', 'bca'. Received: 'basic'"),
        ([0, 1], [0, 1], {"method": "bca"}, "method='bca' is undefined here"),
    ],
)
def test_what_is_refused(labels, said, options, message):
    with pytest.raises(ValueError, match=message):
        confidence_interval(_accuracy, labels, said, **options)


def test_a_measure_that_gives_no_number():
    with pytest.raises(ValueError, match="finite number on the data. Received: nan"):
        confidence_interval(lambda y, said: np.nan, [0, 1], [0, 1])
