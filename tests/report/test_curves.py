"""Curves over all thresholds against counting by hand, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from keras_dlcourse.report import draw_precision_recall, draw_roc, png_bytes
from keras_dlcourse.report.curves import PRECISION_RECALL, ROC, areas, operating_point
from keras_dlcourse.report.one_vs_rest import one_vs_rest

RNG = np.random.default_rng(0)
Y = np.repeat([0, 1, 2], 30)
SCORES = RNG.dirichlet(np.ones(3), 90) * 0.5 + np.eye(3)[Y] * RNG.uniform(0, 0.5, (90, 1))


def legend(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 40), steps=st.integers(1, 8))
def test_areas_of_tied_scores(seed, n, steps):
    """The area is the share of pairs in the right order; a tie is half of one."""
    rng = np.random.default_rng(seed)
    y, scores = rng.integers(0, 2, n), rng.integers(0, steps, n) / steps
    high, low = scores[y == 1], scores[y == 0]
    (found,) = areas(ROC, one_vs_rest(y, scores))
    if not len(high) or not len(low):
        assert np.isnan(found)
    else:
        pairs = np.subtract.outer(high, low)
        assert found == pytest.approx(((pairs > 0) + (pairs == 0) / 2).mean())
    (found,) = areas(PRECISION_RECALL, one_vs_rest(y, scores))
    if len(high):
        sums, before = 0.0, 0.0
        for least in np.unique(scores)[::-1]:
            recall, precision = np.mean(high >= least), y[scores >= least].mean()
            sums, before = sums + (recall - before) * precision, recall
        assert found == pytest.approx(sums)
    else:
        assert np.isnan(found)


def test_each_class_against_the_rest():
    found = areas(ROC, one_vs_rest(Y, SCORES))
    np.testing.assert_allclose(found, roc_auc_score(np.eye(3)[Y], SCORES, average=None))
    found = areas(PRECISION_RECALL, one_vs_rest(Y, SCORES))
    np.testing.assert_allclose(found, average_precision_score(np.eye(3)[Y], SCORES, average=None))


def test_any_number_of_labels_of_which_some_are_unknown():
    labels = np.array([[1, 0.0], [0, np.nan], [1, 1], [0, -1]])
    scores = np.array([[0.9, 0.1], [0.2, 0.5], [0.1, 0.6], [0.3, 0.7]])
    (first, _), (second, score) = one_vs_rest(labels, scores)
    assert first.tolist() == [True, False, True, False]
    assert second.tolist() == [False, True] and score.tolist() == [0.1, 0.6]
    assert areas(ROC, one_vs_rest(labels, scores)).tolist() == [0.5, 1.0]


@pytest.mark.parametrize("draw", [draw_roc, draw_precision_recall])
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_the_operating_point_lies_on_the_curve(draw, shape):
    """And where counting puts it."""
    y, scores = (Y == 2).astype(int), SCORES[:, 2].reshape(shape)
    least = float(np.sort(SCORES[:, 2])[60])
    axes = draw(y, scores, thresholds=least).axes[0]
    (point,) = axes.collections[0].get_offsets()
    said = SCORES[:, 2] >= least
    recall, precision = said[y == 1].mean(), y[said].mean()
    fpr = said[y == 0].mean()
    x, height = (fpr, recall) if draw is draw_roc else (recall, precision)
    np.testing.assert_allclose(point, (x, height))
    curve = np.column_stack(axes.lines[0].get_data())
    assert np.abs(curve - point).max(axis=1).min() < 1e-9
    assert legend(draw(y, scores, thresholds=least))[1] == (
        f"threshold {least:.3g}: {height:.1%} at {x:.1%}"
    )


def test_nothing_counts_from_a_threshold_above_all():
    (question,) = one_vs_rest([0, 1], [0.2, 0.8])
    assert operating_point(ROC, question, 2.0) == (0, 0)
    assert operating_point(PRECISION_RECALL, question, 2.0) == (0, 1)


def test_the_worst_of_many_classes_are_coloured():
    """A class without examples has no curve; names that look like formulas are none."""
    y = np.arange(60) % 7
    scores = RNG.random((60, 8)) + 2 * np.eye(8)[y] * np.linspace(0, 1, 8)
    names = [f"${number}$" for number in range(8)]
    figure = draw_roc(y, scores, names)
    found = areas(ROC, one_vs_rest(y, scores))
    assert np.isnan(found[7])
    worst = np.sort(np.argsort(found)[:4])
    coloured, rest = legend(figure)[:4], legend(figure)[4]
    assert coloured == [f"${number}$: area {found[number]:.3f}" for number in worst]
    assert rest == f"3 more classes, {np.sort(found[:7])[4]:.3f} or higher"
    assert len(figure.axes[0].lines) == 7 + 2  # and that of the legend, and the diagonal
    assert png_bytes(figure)[1:4] == b"PNG"


@pytest.mark.parametrize(
    ("labels", "scores", "options", "message"),
    [
        ([0, 1], [[0.1, 0.2, 0.7]], {}, r"\(2,\) and \(1, 3\)"),
        ([], np.zeros((0, 2)), {}, r"n > 0. Received: \(0,\)"),
        ([0, 1], [0.5, float("nan")], {}, "scores must be numbers. Received: NaN"),
        ([0, 3], [[0.5, 0.5], [0.1, 0.9]], {}, "class indices from 0 to 1. Received: .*3"),
        ([0, 2], [0.5, 0.6], {}, "labels must be 0 and 1. Received: .*2"),
        ([[0, 2], [1, 0]], [[0.5, 0.6], [0.1, 0.2]], {}, "labels must be 0 and 1. Received: .*2"),
        ([1, 1], [0.5, 0.6], {}, "both positive and negative .* to draw a curve"),
        ([0, 1], [0.5, 0.6], {"class_names": ["a", "b"]}, "each of 1 columns.*Received: 2 names"),
        ([0, 1], [0.5, 0.6], {"thresholds": [0.1, 0.2]}, r"each of 1 classes. Received: \[0.1"),
        ([0, 1], [0.5, 0.6], {"thresholds": float("nan")}, "thresholds must be one number"),
    ],
)
def test_what_is_refused(labels, scores, options, message):
    with pytest.raises(ValueError, match=message):
        draw_roc(labels, scores, **options)
