"""Right and wrong answers: which are chosen, and what is drawn of them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from keras_dlcourse.report.gallery import draw_answers, typical_answers
from keras_dlcourse.report.maps import overlay, to_rgb


def test_typical_answers_are_right_and_in_the_middle():
    generator = np.random.default_rng(0)
    scores = generator.dirichlet(np.ones(4), 300)
    labels = generator.integers(0, 3, 300)  # the last class has no images
    found = typical_answers(labels, scores)
    assert labels[found].tolist() == [0, 1, 2]
    for index in found:
        one = labels[index]
        right = (scores.argmax(axis=1) == labels) & (labels == one)
        assert right[index]
        below = (scores[right, one] < scores[index, one]).sum()
        assert below == right.sum() // 2


def test_of_many_classes_some_from_first_to_last_are_shown():
    labels = np.arange(40)
    assert typical_answers(labels, np.eye(40), limit=4).tolist() == [0, 13, 26, 39]
    assert typical_answers(labels, np.roll(np.eye(40), 1, axis=0)).tolist() == []


@pytest.mark.parametrize("shape", [(28, 28, 1), (300, 200, 3)])
def test_answers_show_the_image_and_the_maps_of_its_classes(shape):
    generator = np.random.default_rng(1)
    pixels = generator.integers(0, 256, (2, *shape)).astype("uint8")
    maps = generator.random((2, 2, *shape[:2]))
    wrong, right = draw_answers(
        pixels, maps, [[0.25, 0.75], [0.9, 0.9]], [1, 0], [0, 0], ["cat", "dog"]
    )
    assert wrong.caption == "✗ cat (25%), predicted dog (75%)"
    assert right.caption == "✓ cat (90%)"
    assert "maps of cat and dog" in wrong.alt
    width = round(112 * shape[1] / shape[0])
    for picture, panels in ((wrong, 3), (right, 2)):
        with Image.open(io.BytesIO(picture.png)) as image:
            assert image.size == (panels * width + (panels - 1) * 6, 112)
            drawn = np.asarray(image)
        assert (drawn[:, width : width + 6] == 255).all()
    if shape[0] == 28:  # each pixel is 4 pixels
        with Image.open(io.BytesIO(wrong.png)) as image:
            drawn = np.asarray(image)[::4]
        rgb = to_rgb(pixels[0])
        for number, panel in enumerate((rgb, overlay(rgb, maps[0, 0]), overlay(rgb, maps[0, 1]))):
            left = number * (width + 6)
            expected = np.round(255 * panel)
            np.testing.assert_allclose(drawn[:, left : left + width : 4], expected, atol=1)
