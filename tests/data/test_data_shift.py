"""What has moved is named, and what has not is left alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import keras_dlcourse as kd


def _photos(seed: int, count: int = 400) -> np.ndarray:
    random = np.random.default_rng(seed)
    base = random.uniform(60, 150, (count, 1, 1, 3))
    return base + random.normal(0, 20, (count, 10, 8, 3))


def test_parts_of_one_population_are_alike():
    reports = [kd.data.covariate_shift(_photos(k), _photos(100 + k)) for k in range(20)]
    assert sum(map(bool, reports)) <= 1  # at alpha 0.01, one in a hundred
    assert "No statistic has moved between 400 training" in str(reports[0])


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda x: x + [0, 60, 0], ["brightness of channel 1 is higher in test: "]),
        (
            lambda x: x * [1, 1, 0.5],
            ["contrast of channel 2 is lower", "brightness of channel 2 is lower"],
        ),
        (
            lambda x: x + [60, 0, 0] * np.where(np.arange(len(x)) % 2, 1, -1)[:, None, None, None],
            ["brightness of channel 0 varies more in test: standard deviation "],
        ),
    ],
    ids=["brighter", "dimmed", "spread"],
)  # fmt: skip
def test_what_was_changed_is_named_and_nothing_else(change, said):
    report = kd.data.covariate_shift(_photos(0), change(_photos(1)))
    assert len(report.moved) == len(said) and report
    for words, feature in zip(said, report.moved, strict=True):
        assert words in str(feature) and f"- {feature}" in str(report)


def test_numbers_are_those_of_scipy_and_of_cohen():
    random = np.random.default_rng(0)
    train, test = random.normal(size=(300, 4)), random.normal(0.3, 1.2, size=(200, 4))
    report = kd.data.covariate_shift((train, np.zeros(300)), test, alpha=0.05)
    assert (report.train_size, report.test_size) == (300, 200)
    for k, feature in enumerate(report.features):
        ours, theirs = train[:, k], test[:, k]
        found = stats.ks_2samp(ours, theirs)
        assert (feature.ks, feature.p_value) == pytest.approx((found.statistic, found.pvalue))
        pooled = np.sqrt((ours.var() + theirs.var()) / 2)
        assert feature.difference == pytest.approx((theirs.mean() - ours.mean()) / pooled)
        assert feature.name == f"feature {k}"


def test_statistics_of_images_are_those_within_each():
    images = _photos(0, 5).astype("float32")
    report = kd.data.covariate_shift(images, images)
    expected = [*images.mean((1, 2)).mean(0), *images.std((1, 2)).mean(0)]
    np.testing.assert_allclose([f.train_mean for f in report.features], expected, rtol=1e-5)


def test_a_tiny_shift_among_many_does_not_matter():
    random = np.random.default_rng(0)
    train, test = random.normal(size=(40_000, 1)), random.normal(0.05, 1, size=(40_000, 1))
    (feature,) = kd.data.covariate_shift(train, test).features
    assert feature.p_value < 1e-4 and not feature.has_moved


def test_a_constant_that_changes_has_moved_without_end():
    train, test = np.zeros((30, 2)), np.ones((30, 2)) * [0, 1]
    still, moved = kd.data.covariate_shift(train, test).features
    assert (still.difference, moved.difference) == (0, np.inf)
    assert moved.has_moved and not still.has_moved


def test_errors():
    images = _photos(0, 4)
    with pytest.raises(ValueError, match="alpha must be a number above 0 and below 1. Received: 1"):
        kd.data.covariate_shift(images, images, alpha=1)
    with pytest.raises(ValueError, match="test must have 2 examples or more. Received: 1"):
        kd.data.covariate_shift(images, images[:1])
    with pytest.raises(
        ValueError, match="same channels or features. Received: 6 statistics .* and 2 "
    ):
        kd.data.covariate_shift(images, images[..., :1])
    with pytest.raises(ValueError, match=r"train must be images .* Received: shape \(4, 10, 8\)"):
        kd.data.covariate_shift(images[..., 0], images)
    with pytest.raises(ValueError, match="test must be finite"):
        kd.data.covariate_shift(images, images * np.nan)
