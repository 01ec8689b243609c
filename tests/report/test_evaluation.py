"""One object of all figures: each is that of scikit-learn, or of the part that makes it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, roc_auc_score

from keras_dlcourse.report import draw_evaluation, evaluation, png_bytes, reliability

RNG = np.random.default_rng(0)
NAMES = ("cat", "dog", "cow")
Y = np.repeat([0, 1, 2], [40, 30, 20])
SCORES = RNG.dirichlet(np.ones(3), 90) * 0.6 + np.eye(3)[Y] * 0.4


def test_figures_of_several_classes():
    found = evaluation(Y, SCORES, NAMES)
    said = SCORES.argmax(1)
    assert found.accuracy.value == accuracy_score(Y, said)
    assert found.accuracy.low < found.accuracy.value < found.accuracy.high
    np.testing.assert_array_equal(found.confusion, confusion_matrix(Y, said))
    assert found.classes.macro[2] == pytest.approx(f1_score(Y, said, average="macro"))
    assert found.area == pytest.approx(roc_auc_score(Y, SCORES, multi_class="ovr"))
    assert found.reliability.error == reliability(Y, SCORES).error
    true, answer, times = found.confused()[0]
    assert times == np.max(found.confusion - np.diag(np.diag(found.confusion)))
    assert times == found.confusion[NAMES.index(true), NAMES.index(answer)]
    text = str(found)
    for part in (str(found.accuracy), "on 90 examples", "weighted mean", f"{true}", "true class"):
        assert part in text
    figures = json.loads(json.dumps(found.to_dict()))
    assert figures["accuracy"] == found.accuracy.value and figures["area"] == found.area


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_figures_of_one_score(shape):
    y, scores = (Y == 0).astype(int), SCORES[:, 0]
    found = evaluation(y, scores.reshape(shape), ["other", "cat"], threshold=0.6)
    said = (scores >= 0.6).astype(int)
    np.testing.assert_array_equal(found.confusion, confusion_matrix(y, said))
    assert found.area == roc_auc_score(y, scores) and found.areas.shape == (1,)
    assert "cat at scores of 0.6 or higher" in str(found)
    roc, precision_recall, shares = draw_evaluation(found).axes
    for axes in (roc, precision_recall):
        assert "threshold 0.6:" in axes.get_legend().get_texts()[1].get_text()
    assert f"{found.reliability.error:.1%}" in shares.get_legend().get_texts()[1].get_text()


def test_the_picture_of_several_classes():
    figure = draw_evaluation(evaluation(Y, SCORES, NAMES))
    assert png_bytes(figure)[1:4] == b"PNG"
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert [text.split(":")[0] for text in texts] == [*NAMES, "chance"]


def test_what_has_no_figure_is_none():
    found = evaluation([0, 0], [[0.9, 0.1], [0.8, 0.2]], ["a", "b"])
    assert np.isnan(found.area) and found.to_dict()["area"] is None
    assert found.confused() == [] and "true class" not in str(found)
    with pytest.raises(ValueError, match="both positive and negative .* to draw a curve"):
        draw_evaluation(found)
    one = evaluation([1], [[0.3, 0.7]], ["a", "b"])
    assert (one.accuracy.value, one.accuracy.low, one.accuracy.high) == (1, 0, 1)


@pytest.mark.parametrize("is_right", [True, False])
def test_answers_that_are_all_alike_do_not_make_sure(is_right):
    """All samples of them have the same accuracy; the exact interval goes by their number."""
    labels = np.array([0, 1] * 3)
    found = evaluation(labels, np.eye(2)[labels if is_right else 1 - labels], ["a", "b"]).accuracy
    least = 0.025 ** (1 / 6)  # Clopper and Pearson
    expected = (least, 1) if is_right else (0, 1 - least)
    np.testing.assert_allclose((found.low, found.high), expected, atol=1e-9)


@pytest.mark.parametrize(
    ("labels", "scores", "names", "message"),
    [
        (np.eye(3), np.eye(3), NAMES, r"Received: shape \(3, 3\).*draw_roc accepts such labels"),
        ([0, 1], np.eye(3)[:2], ["a", "b"], "class_names must have 3 names. Received: 2"),
        ([0, 1], [0.5, 0.6], NAMES, "class_names must have 2 names. Received: 3"),
        ([0, 1], [-2.0, 3.0], ["a", "b"], "scores must be from 0 to 1"),
    ],
)
def test_what_is_refused(labels, scores, names, message):
    with pytest.raises(ValueError, match=message):
        evaluation(labels, scores, names)
