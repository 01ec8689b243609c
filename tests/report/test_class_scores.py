"""Precision, recall and F1 against scikit-learn, whatever classes there are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support

from keras_dlcourse.report import class_scores, confusion_counts


@given(st.integers(2, 6), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_they_are_scikit_learns(classes, n, seed):
    """Of classes without examples nothing is said; the means are over the others."""
    y, said = np.random.default_rng(seed).integers(0, classes, (2, n))
    found = class_scores(confusion_counts(y, said, classes), [f"class {i}" for i in range(classes)])
    there = np.unique(y)
    known = {"labels": there, "zero_division": 0}
    expected = precision_recall_fscore_support(y, said, **known)
    for ours, theirs in zip(
        (found.precision, found.recall, found.f1, found.support), expected, strict=True
    ):
        np.testing.assert_allclose(ours[there], theirs)
    rest = np.setdiff1d(np.arange(classes), there)
    assert np.isnan(found.f1[rest]).all() and (found.support[rest] == 0).all()
    for average, means in (("macro", found.macro), ("weighted", found.weighted)):
        theirs = precision_recall_fscore_support(y, said, average=average, **known)
        np.testing.assert_allclose(means, theirs[:3])


def test_the_table_says_what_is_not_known():
    found = class_scores([[3, 1, 0], [0, 0, 0], [2, 0, 2]], ["cat", "dog", "cow"])
    assert found.rows()[1] == ("dog", None, None, None, 0)
    cat, dog, cow, mean, weighted = str(found).splitlines()[2:]
    assert cat.split() == ["cat", "0.6", "0.75", "0.667", "4"]
    assert dog.split() == ["dog", "–", "–", "–", "0"]
    assert cow.split() == ["cow", "1", "0.5", "0.667", "4"]
    assert mean.split() == ["mean", "0.8", "0.625", "0.667", "8"]
    assert weighted.split()[:2] == ["weighted", "mean"]


@pytest.mark.parametrize(
    ("counts", "names", "message"),
    [
        (np.zeros((2, 2)), ["a", "b"], "counts must have at least one value above 0"),
        (np.ones((2, 3)), ["a", "b"], r"square matrix. Received: shape \(2, 3\)"),
        (np.ones((2, 2)), ["a"], "one name for each of 2 classes. Received: 1 names"),
    ],
)
def test_what_is_refused(counts, names, message):
    with pytest.raises(ValueError, match=message):
        class_scores(counts, names)
