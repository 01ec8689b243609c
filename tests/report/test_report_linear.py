"""The line of a perceptron, and templates of linear classifiers."""

import numpy as np
import pytest

from keras_dlcourse.report import draw_perceptron, draw_templates

POINTS = np.array([[0.0, 0.0], [1.0, 0.0], [3.0, 3.0], [4.0, 2.0]])
LABELS = np.array(["near", "near", "far", "far"])


def test_the_line_is_where_the_decision_is_zero():
    w, w0 = np.array([2.0, 1.0]), -5.0
    figure = draw_perceptron(POINTS, LABELS, w, w0, [0, 2, 0], [2, 1, 0])
    left, right = figure.axes
    (line,) = left.lines
    for point in (line.get_xy1(), line.get_xy2()):
        assert w @ point + w0 == pytest.approx(0)
    circled = left.collections[-1].get_offsets()
    np.testing.assert_array_equal(circled, POINTS[[0, 2]])
    assert list(right.lines[0].get_ydata()) == [2, 1, 0]
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["far", "near"]


def test_no_line_without_weights():
    assert not draw_perceptron(POINTS, LABELS, [0.0, 0.0], 1.0, [], [0]).axes[0].lines


def test_templates_have_one_scale_and_lie_as_the_image_does():
    weights = np.arange(12.0).reshape(2, 6) - 3
    figure = draw_templates(weights, (2, 3), ["up", "down"])
    first, second = (axes.images[0] for axes in figure.axes[:2])
    np.testing.assert_array_equal(first.get_array(), [[-3, -2, -1], [0, 1, 2]])
    assert first.get_clim() == second.get_clim() == (-8, 8)
    coloured = draw_templates(np.ones((1, 12)), (2, 2, 3), ["all"])
    np.testing.assert_array_equal(coloured.axes[0].images[0].get_array(), np.ones((2, 2)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: draw_templates(np.ones((2, 6)), (2, 2), ["a", "b"]), r"\(2, 6\), \(2, 2\)"),
        (lambda: draw_templates(np.ones((2, 4)), (2, 2), ["a"]), "1 names"),
        (lambda: draw_perceptron(np.ones((4, 3)), LABELS, [1, 1], 0.0, [], [0]), r"\(4, 3\)"),
        (lambda: draw_perceptron(POINTS, [0, 1, 2, 0], [1, 1], 0.0, [], [0]), "3 classes"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
