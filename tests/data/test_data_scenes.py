"""Composed scenes: what is said of them is what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from keras_dlcourse.data import compose_scenes, split_sources

SIZE = (60, 90)
PHOTOS = [np.full((80, 100, 3), (0, 0, 80), "uint8"), np.full((50, 200, 3), (0, 0, 160), "uint8")]


def _cutout(width=40, height=60, colour=(255, 0, 0)):
    """Draw a wedge: wide at its foot, so that turning and mirroring show."""
    picture = Image.new("RGBA", (width, height))
    points = [(2, 2), (width // 3, 2), (width - 3, height - 3), (2, height - 3)]
    ImageDraw.Draw(picture).polygon(points, fill=(*colour, 255))
    return np.array(picture)


CUTOUTS = [_cutout(), _cutout(70, 30), _cutout(colour=(0, 255, 0))]
LABELS = [0, 0, 1]


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 3]))
def test_boxes_and_masks_are_those_of_the_pixels(seed, objects):
    scenes = compose_scenes(
        CUTOUTS, LABELS, PHOTOS, 2, SIZE, objects=objects, scale=(0.3, 1.0), turn=60, seed=seed
    )
    assert scenes.images.shape == (2, *SIZE, 3) and scenes.images.dtype == np.uint8
    for k in range(2):
        for number in range(objects):
            shown = scenes.masks[k] == number + 1
            rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
            expected = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            assert scenes.boxes[k, number].tolist() == expected
            inside = scenes.images[k][shown]
            channel = scenes.labels[k, number]  # class 0 is red, class 1 green
            assert np.median(inside[:, channel]) > 180 > 60 > np.median(inside[:, 1 - channel])
        ground = scenes.images[k][scenes.masks[k] == 0]
        assert np.median(ground[:, 2]) == (80, 160)[scenes.backgrounds[k]]
        # Half-transparent edges apart, nothing of an object lies outside its mask.
        assert (ground[:, :2].max(1) > 140).mean() < 0.02
    assert (scenes.labels == np.array(LABELS)[scenes.cutouts]).all()


@settings(max_examples=40)
@given(st.integers(0, 10**6))
def test_keypoints_stay_on_their_marks(seed):
    """Two marks of their own colours, on the left and right of the cut-out, are found again."""
    cutout = np.full((80, 60, 4), 255, "uint8")
    places = [(12, 20), (48, 20), (30, 64)]
    colours = [(255, 0, 0), (0, 255, 0), (255, 0, 255)]
    picture = Image.fromarray(cutout)
    for (x, y), colour in zip(places, colours, strict=True):
        ImageDraw.Draw(picture).ellipse((x - 7, y - 7, x + 7, y + 7), fill=(*colour, 255))
    for pairs in ((), [(0, 1)]):
        scenes = compose_scenes(
            [np.array(picture)], [0], [np.zeros((90, 90, 3), "uint8")], 1, (96, 96),
            scale=(0.6, 0.9), turn=45, keypoints=[np.array(places) + 0.5], flip_pairs=pairs,
            seed=seed,
        )  # fmt: skip
        found = scenes.keypoints[0, 0]
        assert found[:, 2].tolist() == [1, 1, 1]
        image = scenes.images[0].astype(int)
        marks = []
        for colour in colours:
            rows, columns = np.nonzero(np.abs(image - colour).sum(2) < 150)
            marks.append((columns.mean() + 0.5, rows.mean() + 0.5))
        distances = np.abs(found[:, None, :2] - np.array(marks)).max(2)
        assert distances.min(1).max() < 1
        left_is_first = distances[0].argmin() == 0
        if not pairs:
            assert left_is_first
        else:  # the first point is that on the left of the object as it is seen, turned back
            assert distances[2].argmin() == 2
            first, second, foot = found[:, :2]
            across, down = second - first, foot - (first + second) / 2
            assert across[0] * down[1] - across[1] * down[0] > 0


def test_points_that_are_missing_or_hidden_are_said():
    cutout = np.full((40, 40, 4), 255, "uint8")
    points = [[(5, 5), (np.nan, np.nan), (35, 35)]]
    scenes = compose_scenes(
        [cutout], [0], PHOTOS, 30, (50, 50), objects=2, scale=(0.4, 0.5), turn=0, flip=False,
        keypoints=points, seed=1,
    )  # fmt: skip
    assert not scenes.keypoints[:, :, 1].any()
    assert scenes.keypoints[:, 1, 0, 2].all()  # nothing lies on the last object
    hidden = scenes.keypoints[:, 0, 0, 2] == 0
    assert 0 < hidden.sum() < 15
    for scene in np.flatnonzero(hidden):
        x, y, _ = scenes.keypoints[scene, 0, 0]
        assert scenes.masks[scene, int(y), int(x)] == 2


def test_the_seed_decides_and_classes_come_alike_often():
    options = {"scenes": 200, "size": (24, 24), "scale": (0.4, 0.6)}
    one, same = (compose_scenes(CUTOUTS, LABELS, PHOTOS, seed=3, **options) for _ in range(2))
    for name in ("images", "labels", "boxes", "masks", "cutouts", "backgrounds"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
    other = compose_scenes(CUTOUTS, LABELS, PHOTOS, seed=4, **options)
    assert (one.images != other.images).any() and one.keypoints is None
    assert 70 < one.labels.sum() < 130  # one of three cut-outs is of class 1


def test_parts_share_no_source():
    labels = np.repeat(np.arange(5), 10)
    parts = split_sources(labels, 40, [0.2, 0.1], seed=2)
    assert [len(part[0]) for part in parts] == [35, 10, 5]
    assert [len(part[1]) for part in parts] == [28, 8, 4]
    for column in (0, 1):
        joined = np.concatenate([part[column] for part in parts])
        assert len(np.unique(joined)) == len(joined) == (50, 40)[column]
    for part in parts:
        assert set(labels[part[0]]) == set(range(5))


BAD = [
    ({"cutouts": []}, "cutouts is empty"),
    ({"cutouts": [CUTOUTS[0][..., :3]]}, r"cutouts\[0\] must be uint8.*4.*\(60, 40, 3\)"),
    ({"cutouts": [np.zeros((9, 9, 4), "uint8")]}, r"cutouts\[0\] has no opaque pixel"),
    ({"labels": [0.5, 0, 1]}, "labels must be one integer for each of the 3.*float64"),
    ({"labels": [0, 1]}, "labels must be.*3 cutouts"),
    ({"backgrounds": [np.zeros((9, 9), "uint8")]}, r"backgrounds\[0\].*\(9, 9\)"),
    ({"size": 32}, "size must be two numbers. Received: 32"),
    ({"scale": (0.5, 0.2)}, "scale must be two fractions.*0.5, 0.2"),
    ({"turn": -3}, "turn must be a number from 0 to 180. Received: -3"),
    ({"scenes": 0}, "scenes must be an integer of at least 1"),
    ({"keypoints": [[(1, 2)]]}, "keypoints.*each of the 3 cutouts.*Received: 1"),
    ({"keypoints": [[(1, 2)], [(1, 2)], [(1, 2), (3, 4)]]}, "all with the same number of points"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_what_cannot_be_composed_is_said(change, message):
    options = {"cutouts": CUTOUTS, "labels": LABELS, "backgrounds": PHOTOS, "size": SIZE}
    with pytest.raises(ValueError, match=message):
        compose_scenes(**{"scenes": 1, **options, **change})
