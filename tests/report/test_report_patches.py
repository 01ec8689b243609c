"""The grid of patches: what stands where, and what is drawn of it."""

import io

import numpy as np
import pytest
from PIL import Image

from keras_dlcourse.report import draw_patches, png_bytes


def _crops(count, dtype="uint8"):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (3 + n % 4, 5, 1)).astype(dtype) for n in range(count)]


@pytest.mark.parametrize("count", [1, 4, 9])
def test_each_crop_has_its_place_and_its_caption(count):
    captions = [f"image {n}" for n in range(count)]
    figure = draw_patches(_crops(count), captions, [n == 0 for n in range(count)], "unit 3")
    assert len(figure.axes) == count
    texts = [text.get_text() for text in figure.texts]
    assert texts[0] == "unit 3" and texts.count("at the border") == 1
    assert [text for text in texts if text.startswith("image")] == captions
    styles = [axes.spines["left"].get_linestyle() for axes in figure.axes]
    assert styles == ["--"] + ["-"] * (count - 1)
    boxes = [axes.get_position() for axes in figure.axes]
    for one in range(count):
        assert boxes[one].x0 > 0 and boxes[one].x1 < 1 and boxes[one].y0 > 0 and boxes[one].y1 < 1
        for other in range(one):
            assert not boxes[one].overlaps(boxes[other])
    picture = Image.open(io.BytesIO(png_bytes(figure, dpi=50)))
    assert picture.size == tuple(int(side * 50) for side in figure.get_size_inches())


def test_bytes_are_drawn_as_they_are_and_normalised_images_stretched():
    (drawn,) = draw_patches([np.array([[[0], [51]]], "uint8")]).axes[0].images
    np.testing.assert_allclose(drawn.get_array()[0, :, 0], [0, 0.2])
    first, second = draw_patches([np.array([[[-2.0]]]), np.array([[[2.0], [0.0]]])]).axes
    np.testing.assert_allclose(first.images[0].get_array()[0, :, 1], [0])
    np.testing.assert_allclose(second.images[0].get_array()[0, :, 1], [1, 0.5])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"crops": []}, "crops must contain at least one image"),
        ({"columns": 0}, "columns must be an integer of at least 1. Received: 0"),
        ({"captions": ["one"]}, "captions must have one entry for each of 2 crops. Received: 1"),
        ({"clipped": [True] * 3}, "clipped must have one entry for each of 2 crops. Received: 3"),
        ({"crops": [np.zeros((3, 3))]}, r"shape \(height, width, 1 or 3\). Received: \(3, 3\)"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_patches(**{"crops": _crops(2), **arguments})
