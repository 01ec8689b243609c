"""Objects that touch are split, and cut ones stay whole."""

from __future__ import annotations

import importlib.util
import re

import numpy as np
import pytest

from keras_dlcourse.data import separate_instances
from keras_dlcourse.metrics import instance_scores

has_skimage = pytest.mark.skipif(
    importlib.util.find_spec("skimage") is None, reason="scikit-image is not installed"
)


def draw_discs(centers, radius=9, size=(48, 64)):
    """Return the number of the nearest center within the radius."""
    y, x = np.ogrid[: size[0], : size[1]]
    distances = np.stack([np.hypot(y - cy, x - cx) for cy, cx in centers])
    return np.where(distances.min(axis=0) < radius, distances.argmin(axis=0) + 1, 0)


TRUE = np.stack(
    [
        draw_discs([(12, 12), (12, 27), (34, 20), (30, 50)]),  # the first two overlap
        draw_discs([(0, 20), (47, 63), (24, 2), (24, 16)]),  # cut by the border
        np.zeros((48, 64), int),
    ]
)


@has_skimage
def test_discs_that_overlap_are_split():
    found = separate_instances(TRUE > 0)
    assert found.dtype == np.int32 and ((found > 0) == (TRUE > 0)).all()
    scores = instance_scores(TRUE, found, 0.9)
    assert (scores.found, scores.missed, scores.invented) == (8, 0, 0)
    for image in found:
        numbers = np.unique(image)
        assert numbers.tolist() == list(range(len(numbers)))  # 0, 1, 2, ...


@has_skimage
def test_probabilities_are_cut_at_the_threshold():
    probabilities = np.where(TRUE > 0, 0.6, 0.4)
    assert (separate_instances(probabilities) == separate_instances(TRUE > 0)).all()
    assert not separate_instances(probabilities, 0.7).any()
    assert (separate_instances(probabilities[0]) == separate_instances(TRUE[0] > 0)).all()
    assert (separate_instances(probabilities[0], 0.1) == 1).all()  # one object fills the image


@has_skimage
def test_specks_are_background():
    mask = TRUE[0] > 0
    mask[45:47, 40:43] = True
    assert separate_instances(mask).max() == 5
    found = separate_instances(mask, smallest=7)
    assert found.max() == 4 and not found[45:47, 40:43].any()


@has_skimage
def test_middles_that_are_close_are_those_of_one_object():
    mask = (draw_discs([(20, 20)], 12) + draw_discs([(20, 34)], 9)) > 0
    assert separate_instances(mask, spacing=7).max() == 2
    assert separate_instances(mask, spacing=20).max() == 1


@has_skimage
@pytest.mark.parametrize(
    ("interior", "options", "error", "match"),
    [
        (np.zeros((2, 2), "U1"), {}, TypeError, "interior must be numbers"),
        (np.zeros((1, 2, 2, 1)), {}, ValueError, r"\(1, 2, 2, 1\). Choose one class of scores"),
        (np.full((2, 2), np.nan), {}, ValueError, "interior must not have NaN"),
        (np.zeros((2, 2)), {"spacing": 0}, ValueError, "spacing must be an integer of at least 1"),
        (np.zeros((2, 2)), {"smallest": 0}, ValueError, "smallest must be an integer of at least"),
        (np.zeros((2, 2)), {"threshold": "a"}, TypeError, "threshold must be"),
    ],
)
def test_errors_say_what_is_wrong(interior, options, error, match):
    with pytest.raises(error, match=match):
        separate_instances(interior, **options)


def test_what_to_install_is_said(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    told = re.escape("pip install 'keras-dlcourse[scikit-image]'")
    with pytest.raises(ImportError, match=told):
        separate_instances(TRUE > 0)
