"""The line of a perceptron, and templates of linear classifiers."""

import numpy as np
import pytest

from keras_dlcourse.report import draw_boundary, draw_perceptron, draw_templates, png_bytes

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


def test_the_plane_is_coloured_by_the_answers():
    """Answers and scores give the same; each place has the class that a loop finds there."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(30, 2))
    w = np.array([[1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]])
    names = np.array(["a", "b", "c"])

    def scores(places):
        return places @ w.T

    labels = names[scores(points).argmax(1)]
    figures = [
        draw_boundary(call, points, labels, resolution=15)
        for call in (scores, lambda places: names[scores(places).argmax(1)])
    ]
    meshes = [figure.axes[0].collections[-1] for figure in figures]
    first, second = (np.asarray(mesh.get_array()) for mesh in meshes)
    np.testing.assert_array_equal(first, second)
    axes = figures[0].axes[0]
    across, up = (np.linspace(*ends, 15) for ends in (axes.get_xlim(), axes.get_ylim()))
    for row, column in ((0, 0), (3, 11), (14, 7)):
        expected = max(range(3), key=lambda one: w[one] @ [across[column], up[row]])
        assert first[row, column] == expected
    assert axes.get_xlim()[0] < points[:, 0].min() and axes.get_ylim()[1] > points[:, 1].max()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b", "c"]
    colors = [tuple(axes.collections[one].get_facecolor()[0][:3]) for one in range(3)]
    shades = meshes[0].cmap(meshes[0].norm([0, 1, 2]))[:, :3]
    np.testing.assert_allclose(shades, colors)  # a region has the colour of its points
    assert png_bytes(figures[0])[1:4] == b"PNG"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: draw_templates(np.ones((2, 6)), (2, 2), ["a", "b"]), r"\(2, 6\), \(2, 2\)"),
        (lambda: draw_templates(np.ones((2, 4)), (2, 2), ["a"]), "1 names"),
        (lambda: draw_perceptron(np.ones((4, 3)), LABELS, [1, 1], 0.0, [], [0]), r"\(4, 3\)"),
        (lambda: draw_boundary(len, POINTS[:, :1], LABELS), r"Received: \(4, 1\) and 2 classes"),
        (lambda: draw_boundary(len, np.ones((9, 2)), np.arange(9)), "1 to 8 classes.*9 classes"),
        (lambda: draw_boundary(lambda x: x[:, :1], POINTS, LABELS), r"\(40000, 1\)"),
        (
            lambda: draw_boundary(lambda x: np.full(len(x), "far off"), POINTS, LABELS),
            r"classes from labels, \['far', 'near'\]. Received: .*'far off'",
        ),
        (lambda: draw_perceptron(POINTS, [0, 1, 2, 0], [1, 1], 0.0, [], [0]), "3 classes"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
