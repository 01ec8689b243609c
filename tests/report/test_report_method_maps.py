"""Maps of several methods in one picture."""

import numpy as np
import pytest

from keras_dlcourse.report.canvas import png_bytes
from keras_dlcourse.report.method_maps import draw_methods


def test_a_row_an_image_and_a_column_a_method():
    images = np.random.default_rng(0).integers(0, 256, (3, 12, 16, 1)).astype("uint8")
    maps = {name: np.random.default_rng(1).random((3, 12, 16)) for name in ("cam", "grad_cam")}
    figure = draw_methods(images, maps, ["a 90%", "b 80%", "c " + "long " * 30])
    axes = figure.axes[0]
    panels = [image for image in axes.images if image.get_array().shape[:2] == (12, 16)]
    assert len(panels) == 9 and png_bytes(figure, 60)[:4] == b"\x89PNG"
    lefts = sorted({panel.get_extent()[0] for panel in panels})
    assert len(lefts) == 3
    texts = [text.get_text() for text in axes.texts]
    assert texts[1:4] == ["image", "cam", "grad_cam"] and "a 90%" in texts
    assert max(map(len, texts)) < 100


@pytest.mark.parametrize(
    ("images", "maps", "captions", "message"),
    [
        (np.zeros((2, 4, 4)), {"cam": np.zeros((2, 4, 4))}, "ab", "pixels must have shape"),
        (np.zeros((2, 4, 4, 1)), {"cam": np.zeros((2, 4, 5))}, "ab", "maps of 'cam' must have"),
        (np.zeros((2, 4, 4, 1)), {"cam": np.zeros((2, 4, 4))}, "a", "one caption for each of 2"),
        (np.zeros((2, 4, 4, 1)), {}, "ab", "0 methods"),
    ],
)
def test_mistakes_are_said(images, maps, captions, message):
    with pytest.raises(ValueError, match=message):
        draw_methods(images, maps, list(captions))
