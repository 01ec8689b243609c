"""Pictures say what the numbers say, and names of classes are taken literally."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import confusion_matrix

from keras_dlcourse import report


@given(st.integers(2, 12), st.integers(0, 60), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_confusion_counts_agree_with_scikit_learn(classes, n, seed):
    generator = np.random.default_rng(seed)
    labels, predictions = generator.integers(0, classes, (2, n))
    expected = confusion_matrix([*labels], [*predictions], labels=range(classes)) if n else 0
    counts = report.confusion_counts(labels, predictions, classes)
    assert counts.shape == (classes, classes)
    assert (counts == expected).all()


@pytest.mark.parametrize(
    ("labels", "predictions", "match"),
    [
        ([0, 1], [0], r"same length. Received: shapes \(2,\) and \(1,\)"),
        ([0, 3], [0, 1], r"labels must be from 0 to 2. Received: 0 to 3"),
        ([0, 1], [-1, 1], r"predictions must be from 0 to 2. Received: -1 to 1"),
    ],
)
def test_confusion_counts_name_what_is_wrong(labels, predictions, match):
    with pytest.raises(ValueError, match=match):
        report.confusion_counts(labels, predictions, 3)


def test_confusion_pairs_are_the_largest_cells_off_the_diagonal():
    counts = np.array([[90, 1, 7], [0, 80, 0], [9, 2, 70]])
    expected = [(2, 0, 9), (0, 2, 7), (2, 1, 2), (0, 1, 1)]
    assert report.confusion_pairs(counts) == expected
    assert report.confusion_pairs(counts, limit=2) == expected[:2]
    assert counts[0, 0] == 90  # the counts of the caller stay as they are


@pytest.mark.parametrize(
    ("classes", "cell"), [(2, "3\n100%"), (12, "3\n100%"), (13, "3"), (30, "3")]
)
def test_small_matrices_show_numbers(classes, cell):
    figure = report.draw_confusion_matrix(3 * np.eye(classes), [str(i) for i in range(classes)])
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == [cell] * classes  # empty cells are blank


def test_hundred_classes_fit_without_overlapping_names():
    figure = report.draw_confusion_matrix(np.eye(100), [f"class number {i}" for i in range(100)])
    report.png_bytes(figure, dpi=50)
    axes = figure.axes[0]
    assert not axes.texts
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert all(upper.y0 >= lower.y1 - 1 for upper, lower in zip(boxes, boxes[1:], strict=False))


def test_rows_and_columns_are_not_swapped():
    figure = report.draw_confusion_matrix([[0, 4], [0, 0]], ["cat", "dog"])
    axes = figure.axes[0]
    (text,) = axes.texts
    assert text.get_position() == (1, 0)  # predicted dog to the right, true cat at the top
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    np.testing.assert_array_equal(axes.images[0].get_array(), [[0, 1], [0, 0]])


def test_confusion_matrix_refuses_wrong_names_and_shapes():
    with pytest.raises(ValueError, match="one name for each of 2 classes. Received: 3 names"):
        report.draw_confusion_matrix(np.eye(2), ["a", "b", "c"])
    with pytest.raises(ValueError, match=r"square matrix. Received: shape \(2, 3\)"):
        report.draw_confusion_matrix(np.ones((2, 3)), ["a", "b"])


def test_learning_curve_draws_both_parts_and_the_kept_epoch():
    history = {"accuracy": [0.2, 0.5, 0.7], "val_accuracy": [0.3, 0.6, 0.5]}
    axes = report.draw_learning_curve(history, "accuracy", best_epoch=2).axes[0]
    training, validation, kept = axes.lines
    assert list(training.get_xdata()) == list(validation.get_xdata()) == [1, 2, 3]
    assert list(validation.get_ydata()) == [0.3, 0.6, 0.5]
    assert list(kept.get_xdata()) == [2, 2]
    # Not told apart by colour alone.
    assert training.get_linestyle() != validation.get_linestyle()
    assert training.get_marker() != validation.get_marker()


def test_learning_curve_without_validation_and_with_unknown_metric():
    assert len(report.draw_learning_curve({"loss": [1.0]}).axes[0].lines) == 1
    with pytest.raises(ValueError, match="must have the metric 'accuracy'. Available: loss"):
        report.draw_learning_curve({"loss": [1.0]}, "accuracy")


@given(st.integers(1, 30), st.integers(2, 5), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_confident_mistakes_against_a_plain_loop(n, classes, seed):
    generator = np.random.default_rng(seed)
    labels, scores = generator.integers(0, classes, n), generator.random((n, classes))
    wrong = [i for i in range(n) if int(np.argmax(scores[i])) != labels[i]]
    expected = sorted(wrong, key=lambda i: -scores[i].max())[:4]
    assert report.confident_mistakes(labels, scores, limit=4).tolist() == expected


def test_confident_mistakes_refuses_scores_of_another_length():
    with pytest.raises(ValueError, match=r"Received: \(2,\) and \(3, 2\)"):
        report.confident_mistakes([0, 1], np.ones((3, 2)))


@pytest.mark.parametrize("channels", [1, 3])
def test_mistakes_show_the_right_image_with_its_classes(channels):
    pixels = np.stack([np.full((4, 4, channels), value, np.uint8) for value in (0, 90, 250, 10)])
    figure = report.draw_mistakes(
        pixels, [0, 1, 0, 1], [1, 0, 1, 0], [0.99, 0.75, 0.5, 0.4], ["cat", "<b>$x^"], columns=3
    )
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[1] == "true: <b>$x^\npred: cat 75%"
    assert titles[4:] == ["", ""]  # the rest of the last row stays empty
    for axes, value in zip(figure.axes[:4], (0, 90, 250, 10), strict=True):
        (image,) = axes.images
        assert (np.asarray(image.get_array()) == value).all()
        assert image.get_clim() == (0, 255)  # a dark image is drawn dark
    assert report.png_bytes(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("pixels", "labels", "match"),
    [
        (np.zeros((0, 4, 4, 1)), [], "n > 0"),
        (np.zeros((2, 4, 4)), [0, 0], r"Received: \(2, 4, 4\)"),
        (np.zeros((2, 4, 4, 1)), [0], "Received: 2, 1, 1 and 1"),
    ],
)
def test_mistakes_refuses_what_it_cannot_draw(pixels, labels, match):
    with pytest.raises(ValueError, match=match):
        report.draw_mistakes(pixels, labels, labels, labels, ["a"])


@pytest.mark.filterwarnings("error")
def test_any_name_can_be_drawn():
    names = ["$\\frac{", "日本", "a_very_long_name_that_goes_on_and_on", "line\nbreak", "bad\udcff"]
    png = report.png_bytes(report.draw_confusion_matrix(np.eye(5), names), dpi=40)
    assert Image.open(io.BytesIO(png)).format == "PNG"


def test_no_global_state_of_matplotlib_is_touched():
    assert (
        "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    )
