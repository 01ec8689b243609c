"""The four panels of signals."""

import numpy as np
import pytest

from keras_dlcourse.report import draw_signals

ONCE = {"before": [1.0, None, 0.1]}
NAMES = ["first", "second", "third"]


def test_what_is_there_is_drawn_and_none_is_left_out():
    figure = draw_signals(
        NAMES, ONCE, {"a": [0, 1e-30, 1], "b": [1, 1, 1]}, {"a": [None] * 3}, ONCE
    )
    activations, gradients, dead, _ = figure.axes
    np.testing.assert_array_equal(activations.lines[0].get_xdata(), [0, 2])
    assert len(gradients.lines) == 2 and list(gradients.lines[0].get_xdata()) == [1, 2]
    assert [text.get_text() for text in dead.texts] == ["none"]
    assert [tick.get_text() for tick in activations.get_xticklabels()] == NAMES


def test_names_are_thinned_out_and_shares_are_per_cent():
    row = {"before": [0.25] * 60}
    figure = draw_signals([f"layer_{n}" for n in range(60)], row, row, row, row)
    assert len(figure.axes[0].get_xticklabels()) == 20
    assert set(figure.axes[2].lines[0].get_ydata()) == {25.0}


@pytest.mark.parametrize("wrong", [{}, {"a": [1.0]}, dict.fromkeys("abcd", [1.0] * 3)])
def test_rows_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ValueError, match="variance of gradients"):
        draw_signals(NAMES, ONCE, wrong, ONCE, ONCE)
