"""The picture of a search."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.text import Text

from keras_dlcourse.report import draw_selection, png_bytes

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0.0, 0.1, 100.0], ["0", "0.1", "100"]),
        (["relu", "a very long name", True], ["relu", "a very long\u2026", "True"]),
    ],
)
def test_values_are_named_below(values, labels):
    figure = draw_selection(values, RNG.random((3, 4)), RNG.random((3, 4)), 1, "val_loss", "gamma")
    assert png_bytes(figure)[1:4] == b"PNG"
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == labels
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("gamma", "val loss")


def test_no_formula_is_left_as_text():
    figure = draw_selection([1, 16, 64], RNG.random((3, 2)), RNG.random((3, 2)), 0)
    png_bytes(figure)
    assert not [text for text in figure.findobj(Text) if "mathdefault" in text.get_text()]


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(1, 3\)"):
        draw_selection([1, 2], np.ones((2, 3)), np.ones((1, 3)), 0)
    with pytest.raises(ValueError, match="0 to 1. Received: 2"):
        draw_selection([1, 2], np.ones((2, 3)), np.ones((2, 3)), 2)
