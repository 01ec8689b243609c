"""Pictures of neighbours and of embeddings: what stands where, and what is marked."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from keras_dlcourse.report import draw_embedding_map, draw_neighbours, png_bytes

RNG = np.random.default_rng(0)
QUERIES = RNG.integers(0, 256, (3, 6, 8, 3)).astype("uint8")
NEAR = RNG.integers(0, 256, (3, 4, 6, 8, 3)).astype("uint8")
FAR = RNG.random((3, 4))
ASKED = ["a", "b", "c"]
FOUND = [["a", "a", "b", "a"], ["c", "b", "b", "b"], ["c", "c", "c", "a"]]


def test_right_and_wrong_neighbours_are_told_apart():
    figure = draw_neighbours(QUERIES, NEAR, FAR, ASKED, FOUND)
    axes = figure.axes[0]
    texts = [text.get_text() for text in axes.texts]
    assert texts[:3] == ["Nearest neighbors · nearest correct in 2 of 3", "query", "nearest first"]
    names = [text for text in texts[3:] if not text[0].isdigit()]
    expected = []
    for query, line in zip(ASKED, FOUND, strict=True):
        expected += [query, *(f"{'✓' if name == query else '✗'} {name}" for name in line)]
    assert names == expected
    assert [text for text in texts[3:] if text[0].isdigit()] == [
        f"{far:.3g}" for far in FAR.ravel()
    ]
    frames = [patch.get_linestyle() for patch in axes.patches]
    assert frames == ["--" if name.startswith("✗") else "-" for name in expected]
    drawn = [image.get_array() for image in axes.images]
    np.testing.assert_allclose(drawn[0], QUERIES[0] / 255)
    np.testing.assert_allclose(drawn[5 + 2], NEAR[1, 1] / 255)
    boxes = [patch.get_bbox() for patch in axes.patches]
    assert not any(one.overlaps(other) for one in boxes for other in boxes if one is not other)
    picture = Image.open(io.BytesIO(png_bytes(figure, 50)))
    assert picture.size == tuple(int(side * 50) for side in figure.get_size_inches())


def test_without_labels_nothing_is_judged():
    axes = draw_neighbours(QUERIES[..., :1], NEAR[..., :1], FAR).axes[0]
    texts = [text.get_text() for text in axes.texts]
    assert texts[0] == "Nearest neighbors" and not any("✓" in text for text in texts)
    assert {patch.get_linestyle() for patch in axes.patches} == {"-"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"queries": QUERIES[0]}, r"queries must have shape .*\(6, 8, 3\)"),
        ({"neighbours": NEAR[:2]}, "neighbours must have shape"),
        ({"neighbours": NEAR[..., :1]}, "neighbours must have shape"),
        ({"neighbours": NEAR[:, :0]}, "neighbours must have shape"),
        ({"distances": FAR[0]}, r"distances must have shape \(3, 4\). Received: \(4,\)"),
        (
            {"query_labels": ["a"]},
            "query_labels must have one label for each of 3 queries. Received: 1",
        ),
        ({"labels": FOUND[:2]}, r"labels must have shape \(3, 4\)"),
    ],
)
def test_neighbours_that_do_not_fit_are_refused(arguments, message):
    given = {"queries": QUERIES, "neighbours": NEAR, "distances": FAR, **arguments}
    with pytest.raises(ValueError, match=message):
        draw_neighbours(**given)


def test_each_class_has_a_colour_a_mark_and_its_number_in_the_middle():
    points = RNG.standard_normal((200, 2))
    labels = RNG.integers(0, 10, 200)
    figure = draw_embedding_map(points, labels, "Title", "PCA")
    axes = figure.axes[0]
    assert len(axes.collections) == 10
    looks = {
        (to_hex(dots.get_facecolor()[0]), dots.get_paths()[0].vertices.tobytes())
        for dots in axes.collections
    }
    assert len({color for color, _ in looks}) == len({mark for _, mark in looks}) == 10
    for number, (dots, text) in enumerate(zip(axes.collections, axes.texts, strict=True)):
        np.testing.assert_array_equal(dots.get_offsets(), points[labels == number])
        assert text.get_text() == str(number + 1)
        np.testing.assert_allclose(text.get_position(), np.median(points[labels == number], axis=0))
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [f"{number + 1} {number}" for number in range(10)]
    assert axes.get_xlabel() == "PCA 1"


def test_many_classes_and_none():
    points = RNG.standard_normal((60, 2))
    many = draw_embedding_map(points, [f"class {row}" for row in range(60)], "Title")
    assert many.axes[0].get_title(loc="left") == "Title · 60 classes" and not many.legends
    alike = draw_embedding_map(points)
    assert len(alike.axes[0].collections) == 1 and not alike.legends
    assert png_bytes(alike, 40)[1:4] == b"PNG"


@pytest.mark.parametrize(
    ("points", "labels", "message"),
    [
        (np.ones((3, 3)), None, r"points must have shape \(n, 2\), n > 0. Received: \(3, 3\)"),
        (np.full((3, 2), np.nan), None, "points must be finite"),
        (np.ones((3, 2)), ["a"], "labels must have one label for each of 3 points. Received: 1"),
    ],
)
def test_maps_that_do_not_fit_are_refused(points, labels, message):
    with pytest.raises(ValueError, match=message):
        draw_embedding_map(points, labels)
