"""Mean maps of classes, and what a network perceives, as pictures."""

import numpy as np
import pytest

from keras_dlcourse.report import draw_class_means, draw_perception, png_bytes

RNG = np.random.default_rng(0)


def _panels(figure, shape):
    return [i for i in figure.axes[0].images if i.get_array().shape[:2] == shape]


def test_each_class_with_images_has_its_mean_image_and_map():
    images = RNG.integers(0, 256, (3, 12, 16, 1)).astype("uint8")
    maps = RNG.random((3, 12, 16))
    figure = draw_class_means(images, maps, [4, 0, 1200], ["cat", "cow", "dog"])
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[1:5] == ["cat", "4 images", "dog", "1,200 images"] and "cow" not in texts
    panels = _panels(figure, (12, 16))
    assert len(panels) == 4 and png_bytes(figure, 60)[:4] == b"\x89PNG"
    np.testing.assert_allclose(panels[2].get_array()[..., 0] * 255, images[2, ..., 0], atol=1)
    # From its least to its most, whatever the scale; one that is the same everywhere is its least.
    twice = draw_class_means(images, 0.1 * maps + 3, [4, 0, 1200], ["cat", "cow", "dog"])
    np.testing.assert_allclose(_panels(twice, (12, 16))[1].get_array(), panels[1].get_array())
    flat = draw_class_means(images, np.ones(maps.shape), [1, 1, 1], ["cat", "cow", "dog"])
    assert np.isfinite(np.asarray(_panels(flat, (12, 16))[1].get_array())).all()


def test_a_row_shows_image_where_what_and_both():
    images, made, shown = RNG.integers(0, 256, (3, 2, 12, 16, 3)).astype("uint8")
    figure = draw_perception(images, RNG.random((2, 12, 16)), made, shown, ["a 90%", "b 80%"])
    panels = _panels(figure, (12, 16))
    assert len(panels) == 8
    for column, expected in ((0, images), (2, made), (3, shown)):
        found = [panels[4 * row + column].get_array() * 255 for row in range(2)]
        np.testing.assert_allclose(found, expected, atol=1)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda i, m: draw_class_means(i[..., 0], m, [1, 1], "ab"), "pixels must have shape"),
        (lambda i, m: draw_class_means(i, m[:, 1:], [1, 1], "ab"), "maps the same"),
        (lambda i, m: draw_class_means(i, m, [1, 1], "a"), "one entry per class"),
        (lambda i, m: draw_class_means(i, m, [0, 0], "ab"), "images of at least one class"),
        (lambda i, m: draw_perception(i[..., 0], m, i, i, "ab"), "pixels must have shape"),
        (lambda i, m: draw_perception(i, m, i[:, 1:], i, "ab"), "must match pixels"),
        (lambda i, m: draw_perception(i, m, i, i, "a"), "must match pixels"),
    ],
)
def test_mistakes_are_said(draw, message):
    with pytest.raises(ValueError, match=message):
        draw(np.zeros((2, 4, 5, 1), "uint8"), np.zeros((2, 4, 5)))
