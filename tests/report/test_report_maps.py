"""The picture of class activation maps: what is written, marked and where."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image

from keras_dlcourse.report.canvas import png_bytes
from keras_dlcourse.report.maps import draw_class_activation_maps

NAMES = ["shirt", "ankle boot", "a class with a very long name"]


def draw(n=5, shape=(28, 28, 1), labels=True, **arguments):
    rng = np.random.default_rng(0)
    kinds = 2 if labels else 1
    return draw_class_activation_maps(
        rng.integers(0, 256, (n, *shape)).astype("uint8"),
        rng.random((n, kinds, *shape[:2])),
        np.linspace(0, 1, n * kinds).reshape(n, kinds),
        np.arange(n) % 3,
        np.arange(n)[::-1] % 3 if labels else None,
        NAMES,
        **arguments,
    )


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_right_and_wrong_differ_without_colour():
    figure = draw(5)
    true, predicted = np.arange(5)[::-1] % 3, np.arange(5) % 3
    marks = [text for text in texts(figure) if text.startswith(("✓", "✗"))]
    assert marks == ["✓ correct" if same else "✗ wrong" for same in true == predicted]
    styles = [patch.get_linestyle() for patch in figure.axes[0].patches]
    assert styles == ["-" if same else "--" for same in true == predicted]
    assert texts(figure)[0].endswith(f"{(true == predicted).sum()} of 5 correct")


def test_names_and_scores_are_written():
    written = texts(draw(2))
    assert "true class" in written and "predicted" in written
    assert "ankle boot 0%" in written and "shirt 33%" in written and "ankle boot 100%" in written
    assert "0 least" in written and "1 most" in written


def test_without_labels_there_is_no_verdict():
    written = texts(draw(3, labels=False))
    assert "true class" not in written and written.count("image") == 3
    assert not any("correct" in text or "wrong" in text for text in written)


@pytest.mark.parametrize("n", [1, 2, 3, 8])
@pytest.mark.parametrize("shape", [(28, 28, 1), (96, 96, 3), (40, 90, 3), (90, 40, 1)], ids=str)
@pytest.mark.parametrize("labels", [True, False])
def test_nothing_overlaps_or_leaves_the_sheet(n, shape, labels):
    figure = draw(n, shape, labels)
    png_bytes(figure)  # sets the fonts
    renderer = figure.canvas.get_renderer()
    axes = figure.axes[0]
    boxes = [text.get_window_extent(renderer) for text in axes.texts]
    boxes += [image.get_window_extent(renderer) for image in axes.images]
    sheet = figure.bbox
    for box in boxes:
        assert sheet.x0 <= box.x0 and box.x1 <= sheet.x1
        assert sheet.y0 <= box.y0 and box.y1 <= sheet.y1
    for one, other in itertools.combinations(boxes, 2):
        width = min(one.x1, other.x1) - max(one.x0, other.x0)
        height = min(one.y1, other.y1) - max(one.y0, other.y0)
        assert width < 1 or height < 1


def test_the_scale_has_the_colours_of_the_maps():
    """A map over a middle grey image is drawn as the bar is."""
    figure = draw_class_activation_maps(
        np.full((1, 1, 256, 1), 127.5).round().astype("uint8"),
        np.linspace(0, 1, 256)[None, None, None],
        [[0.5]],
        [0],
        None,
        NAMES,
    )
    _, drawn, bar = (image.get_array() for image in figure.axes[0].images)
    np.testing.assert_allclose(drawn, bar, atol=0.005)
    lightness = bar[0] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > 0).all()  # readable in grey print


def test_colour_images_stay_in_colour_beside_the_map():
    figure = draw(1, (8, 8, 3))
    image = figure.axes[0].images[0].get_array()
    assert np.ptp(image, axis=-1).max() > 0.1


def test_it_is_a_png():
    picture = Image.open(io.BytesIO(png_bytes(draw(8), 110)))
    assert picture.format == "PNG" and max(picture.size) < 1500


@pytest.mark.parametrize(
    ("pixels", "maps", "scores", "message"),
    [
        ((2, 8, 8), (2, 2, 8, 8), (2, 2), "pixels must have shape"),
        ((0, 8, 8, 1), (0, 2, 8, 8), (0, 2), "pixels must have shape"),
        ((2, 8, 8, 2), (2, 2, 8, 8), (2, 2), "pixels must have shape"),
        ((2, 8, 8, 1), (2, 1, 8, 8), (2, 2), "with labels. Received: "),
        ((2, 8, 8, 1), (2, 2, 8, 7), (2, 2), r"\(2, 2, 8, 8\).*\(2, 2, 8, 7\)"),
        ((2, 8, 8, 1), (2, 2, 8, 8), (2, 1), "scores"),
    ],
)
def test_shapes_are_checked(pixels, maps, scores, message):
    with pytest.raises(ValueError, match=message):
        draw_class_activation_maps(
            np.zeros(pixels, "uint8"), np.zeros(maps), np.zeros(scores), [0, 0], [0, 0], NAMES
        )
