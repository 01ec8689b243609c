"""Scenes of garments: exact masks, and parts that share no garment."""

from __future__ import annotations

import numpy as np
import pytest

import keras_dlcourse as kd
from keras_dlcourse.data import compose_scenes, fashion_scenes
from keras_dlcourse.data.datasets import _LOADERS
from keras_dlcourse.data.fashion import _PARTS, _color, _fill_garments, read_garments


@pytest.fixture(scope="module")
def scenes():
    return fashion_scenes("validation", 60)


def test_masks_classes_and_boxes_say_the_same(scenes):
    assert scenes.images.shape == (60, 96, 96, 3) and scenes.class_masks.dtype == np.uint8
    assert scenes.labels.shape == (60, 4) and set(np.unique(scenes.labels)) == {-1, *range(10)}
    assert {int((labels >= 0).sum()) for labels in scenes.labels} == {1, 2, 3, 4}
    for number in range(60):
        for place, label in enumerate(scenes.labels[number]):
            shown = scenes.masks[number] == place + 1
            box = scenes.boxes[number, place]
            if label < 0:
                assert not shown.any() and np.isnan(box).all()
                assert scenes.cutouts[number, place] == -1
                continue
            rows, columns = np.nonzero(shown)
            edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert box.tolist() == edges
            assert (scenes.class_masks[number][shown] == label + 1).all()
    assert ((scenes.class_masks == 0) == (scenes.masks == 0)).all()


def test_garments_are_those_of_their_part_and_the_seed_decides(scenes):
    _, labels = read_garments("validation")
    chosen = scenes.cutouts >= 0
    assert (labels[scenes.cutouts[chosen]] == scenes.labels[chosen]).all()
    digests = [{image.tobytes() for image in read_garments(part)[0]} for part in _PARTS]
    assert not set.intersection(*digests[:2]) and not digests[2] & (digests[0] | digests[1])
    again, other = (fashion_scenes("validation", 2, seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(again.images, scenes.images[:2])
    assert (other.images != again.images).mean() > 0.5


def test_garments_are_cut_out_with_what_they_surround():
    shown = np.zeros((1, 5, 5), bool)
    shown[0, 1:4, 1:4] = True
    shown[0, 2, 2] = False
    np.testing.assert_array_equal(_fill_garments(shown)[0, 1:4, 1:4], True)
    assert _fill_garments(shown).sum() == 9
    garments = _color(read_garments("validation")[0][:50, ..., 0], np.random.default_rng(0))
    colors = garments[..., :3].reshape(50, -1, 3).astype(float).sum(axis=1)
    assert garments.shape == (50, 28, 28, 4) and set(np.unique(garments[..., 3])) == {0, 255}
    assert (np.ptp(colors / colors.sum(axis=1, keepdims=True), axis=0) > 0.2).all()


def test_the_data_set_is_made_of_them(monkeypatch):
    """With fewer scenes: thousands take some seconds."""
    made = []

    def few(part, count):
        made.append((part, count))
        return fashion_scenes(part, 40)

    monkeypatch.setattr("keras_dlcourse.data.datasets.fashion_scenes", few)
    data = kd.data.load("fashion_scenes")
    assert made == [("train", 3000), ("validation", 400), ("test", 800)]
    assert "fashion_scenes" in _LOADERS and data.image_shape == (96, 96, 3)
    assert data.class_names[:2] == ("background", "T-shirt/top") and len(data.class_names) == 11
    assert data.ignore == 255 and data.train.y.shape == (40, 96, 96)
    assert 0.7 < kd.data.class_shares(data.train)[0] < 0.95


def test_the_number_of_objects_varies_within_its_limits():
    cutout, photo = np.full((9, 9, 4), 255, "uint8"), np.zeros((40, 40, 3), "uint8")
    points = [np.array([[1.0, 2.0]])]
    arguments = [cutout], [0], [photo], 30, (40, 40)
    scenes = compose_scenes(*arguments, objects=(2, 5), scale=(0.1, 0.2), keypoints=points)
    counts = (scenes.labels >= 0).sum(axis=1)
    assert set(counts.tolist()) == {2, 3, 4, 5} and scenes.keypoints.shape == (30, 5, 1, 3)
    assert (scenes.keypoints[counts < 5][:, -1] == 0).all()
    with pytest.raises(ValueError, match="objects must be two numbers, smallest first"):
        compose_scenes(*arguments, objects=(3, 2))
    with pytest.raises(ValueError, match="objects must be two numbers. Received"):
        compose_scenes(*arguments, objects=(1, 2, 3))


def test_parts_that_do_not_exist():
    with pytest.raises(ValueError, match="part must be one of 'train', 'validation', 'test'"):
        fashion_scenes("val")
