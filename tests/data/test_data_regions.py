"""Regions of similar pixels: what each method must find, boxes and votes."""

from __future__ import annotations

import importlib.util
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from keras_dlcourse.data import IGNORE, find_regions, region_boxes, vote_in_regions

has_skimage = pytest.mark.skipif(
    importlib.util.find_spec("skimage") is None, reason="scikit-image is not installed"
)
BLURRED = {"watershed": 0.03, "graph": 0.01}  # share of pixels: they smooth the image
METHODS = ("kmeans", "mean_shift", "slic", "watershed", "graph")
FINE = {  # few options for small images, so that regions do not cross the outlines below
    "kmeans": {"regions": 3, "position": 0.0},
    "mean_shift": {"scale": 15.0, "position": 1.0},
    "slic": {"regions": 30, "position": 50.0},
    "watershed": {"regions": 30},
    "graph": {"scale": 20.0},
}


def _flags(channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Two images of three areas, with noise, and the areas."""
    areas = np.zeros((2, 32, 40), "uint8")
    areas[0, :, 14:], areas[0, 16:, 14:] = 1, 2
    areas[1, 4:20, 4:20], areas[1, 22:, 24:] = 1, 2
    colors = np.array([[30, 30, 160], [220, 210, 40], [130, 20, 20]])[:, :channels]
    noise = np.random.default_rng(0).integers(-6, 7, (*areas.shape, channels))
    return (colors[areas] + noise).astype("uint8"), areas


@has_skimage
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("channels", [1, 3])
def test_regions_keep_to_the_outlines_of_colors(method: str, channels: int) -> None:
    images, areas = _flags(channels)
    found = find_regions(images, method, **FINE[method])
    assert found.shape == areas.shape and found.dtype == np.int32
    for one in found:  # numbered without gaps
        assert np.array_equal(np.unique(one), np.arange(one.max() + 1)) and one.max() >= 2
    # The best class for each region is that of its pixels.
    wrong = vote_in_regions(found, areas) != areas
    assert wrong.mean() <= BLURRED.get(method, 0)
    as_floats = find_regions(images / np.float64(255), method, **FINE[method])
    np.testing.assert_array_equal(as_floats, found)
    alone = find_regions(images[1:], method, **FINE[method])
    np.testing.assert_array_equal(alone[0], found[1])  # images do not depend on each other


@has_skimage
def test_clusters_and_modes_are_the_colors_themselves() -> None:
    images, areas = _flags()
    for method in ("kmeans", "mean_shift"):
        found = find_regions(images, method, **FINE[method])
        for one, area in zip(found, areas, strict=True):
            assert one.max() == 2
            pairs = np.unique(np.stack([one.ravel(), area.ravel()]), axis=1)
            assert pairs.shape == (2, 3)  # each region is one area


@has_skimage
@pytest.mark.parametrize("method", ["slic", "watershed", "graph"])
def test_regions_are_connected_and_as_many_as_wanted(method: str) -> None:
    images = np.random.default_rng(1).integers(0, 256, (1, 40, 40, 3)).astype("uint8")
    images = ndimage.gaussian_filter(images, (0, 3, 3, 0))
    found = find_regions(images, method, **FINE[method])[0]
    for number in range(found.max() + 1):
        assert ndimage.label(found == number, np.ones((3, 3)))[1] == 1
    if method == "graph":
        assert np.bincount(found.ravel()).min() >= 20
        assert find_regions(images, "graph", scale=1e6).max() < found.max()
    else:
        assert 15 <= found.max() + 1 <= 45


@has_skimage
def test_markers_of_the_watershed_lie_in_basins() -> None:
    """On a regular grid, some would lie on ridges, and remain regions of a single pixel."""
    images = np.random.default_rng(3).integers(0, 256, (1, 60, 60, 1)).astype("uint8")
    images = ndimage.gaussian_filter(images, (0, 2, 2, 0))
    found = find_regions(images, "watershed", regions=36)[0]
    assert found.max() + 1 == 36
    assert np.bincount(found.ravel()).min() > 1


@has_skimage
def test_position_makes_regions_compact() -> None:
    """With position alone, k-means cells are as large as they are apart; without, colors decide."""
    y, x = np.mgrid[:24, :24]
    images = np.where((y + x) % 2, 60, 190).astype("uint8")[None, ..., None]
    by_color = find_regions(images, "kmeans", regions=2, position=0.0)[0]
    np.testing.assert_array_equal(by_color == by_color[0, 0], (y + x) % 2 == 0)
    by_place = find_regions(images, "kmeans", regions=2, position=1e4)[0]
    assert all(ndimage.label(by_place == number)[1] == 1 for number in (0, 1))
    tight = find_regions(images, "slic", regions=9, position=1e4)[0]
    assert max(np.ptp(np.nonzero(tight == n)[0]) for n in range(tight.max() + 1)) <= 9
    # As many modes as balls of that radius fit in.
    assert find_regions(images, "mean_shift", scale=30.0, position=0.0).max() == 1
    assert find_regions(images, "mean_shift", scale=9.0, position=1e3).max() > 20


@has_skimage
@pytest.mark.parametrize("method", METHODS)
def test_features_take_the_place_of_colors(method: str) -> None:
    _, areas = _flags()
    blank = np.zeros((*areas.shape, 3), "uint8")
    maps = np.eye(3)[areas] * 1e-3 + 7  # any unit and offset
    found = find_regions(blank, method, features=maps, **FINE[method])
    assert (vote_in_regions(found, areas) != areas).mean() <= BLURRED.get(method, 0)
    coarse = find_regions(blank, method, features=maps[:, ::2, ::2], **FINE[method])
    assert coarse.shape == areas.shape
    assert (vote_in_regions(coarse, areas) != areas).mean() < 0.06


@has_skimage
@pytest.mark.parametrize("method", METHODS)
def test_a_blank_image_is_no_error(method: str) -> None:
    found = find_regions(np.zeros((1, 8, 9, 1), "uint8"), method)
    assert found.shape == (1, 8, 9)
    flat = find_regions(np.zeros((1, 8, 9, 1)), method, features=np.ones((1, 2, 2, 5)))
    assert flat.shape == (1, 8, 9)
    if method in {"mean_shift", "graph"}:
        assert find_regions(np.zeros((1, 8, 9, 1)), method, scale=1e3).max() == 0
    if method == "kmeans":  # no more clusters than different pixels
        assert find_regions(np.zeros((1, 8, 9, 1)), method, position=0, regions=4).max() == 0


@has_skimage
def test_the_seed_decides() -> None:
    images = np.random.default_rng(2).integers(0, 256, (1, 16, 16, 3)).astype("uint8")
    one, same, other = (find_regions(images, "kmeans", regions=9, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


IMAGE = np.zeros((1, 6, 6, 3), "uint8")
MAPS = np.zeros((1, 3, 3, 2))


@has_skimage
@pytest.mark.parametrize(
    ("images", "options", "error", "match"),
    [
        (IMAGE, {"method": "otsu"}, ValueError, "method must be one of 'kmeans', 'mean_shift'"),
        (IMAGE[0], {}, ValueError, "must be images of shape"),
        (IMAGE[..., :2], {}, ValueError, "1 or 3 channels. Received: 2. Pass other values as feat"),
        (IMAGE + 2.0, {}, ValueError, "floats from 0 to 1. Received: floats from 2 to 2"),
        (IMAGE - 0.1, {}, ValueError, "Pass the pixels before normalization"),
        (IMAGE, {"regions": 0}, ValueError, "regions must be an integer of at least 1"),
        (IMAGE, {"regions": 2.5}, TypeError, "regions must be an integer"),
        (IMAGE, {"regions": 37}, ValueError, "regions must be at most .* 36. Received: 37"),
        (IMAGE, {"regions": 4, "position": 0}, ValueError, "position must be a .*number above 0"),
        (IMAGE, {"method": "kmeans", "regions": 4, "position": -1}, ValueError, "of at least 0"),
        (IMAGE, {"method": "graph", "scale": 0}, ValueError, "scale must be a .*above 0"),
        (IMAGE, {"method": "graph", "scale": "a"}, TypeError, "scale must be"),
        (
            IMAGE,
            {"method": "graph", "regions": 4},
            ValueError,
            "regions must be None with method='graph', which uses scale. Received: 4. regions "
            "belongs to 'kmeans', 'slic', 'watershed'.",
        ),
        (IMAGE, {"scale": 4.0}, ValueError, "scale must be None with method='slic', which uses re"),
        (IMAGE, {"method": "watershed", "position": 4.0}, ValueError, "position must be None"),
        (IMAGE, {"regions": 4, "seed": -1}, ValueError, "seed must be"),
        (IMAGE, {"regions": 4, "features": MAPS[0]}, ValueError, r"maps \(1, rows.*\(3, 3, 2\)"),
        (IMAGE, {"regions": 4, "features": np.repeat(MAPS, 2, 0)}, ValueError, "of the 1 images"),
        (IMAGE, {"regions": 4, "features": MAPS * np.nan}, ValueError, "features must be finite"),
        (IMAGE, {"regions": 4, "features": MAPS.astype(str)}, TypeError, "features must be numb"),
    ],
)
def test_errors_say_what_is_wrong(images, options, error, match) -> None:
    with pytest.raises(error, match=match):
        find_regions(images, **options)


def test_what_to_install_is_said(monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    told = re.escape("pip install 'keras-dlcourse[scikit-image]'")
    with pytest.raises(ImportError, match=f"find_regions.*{told}"):
        find_regions(IMAGE)


SMALL = arrays.array_shapes(min_dims=3, max_dims=3, max_side=6)


def _parts(region: np.ndarray) -> set[tuple[int, ...]]:
    """Boxes of connected parts, by spreading from each pixel to its neighbors."""
    height, width = region.shape
    left, boxes = {(y, x) for y in range(height) for x in range(width)}, set()
    while left:
        part, open_ = set(), [left.pop()]
        while open_:
            y, x = open_.pop()
            part.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            near = {place for place in near if region[place] == region[y, x]}
            left -= near
            open_ += near
        ys, xs = zip(*part, strict=True)
        boxes.add((min(xs), min(ys), max(xs) + 1, max(ys) + 1))
    return boxes


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(np.int32, SMALL, elements=st.integers(-1, 3)), st.integers(1, 3))
def test_boxes_are_those_of_connected_parts(regions: np.ndarray, smallest: int) -> None:
    found = region_boxes(regions, smallest=smallest)
    assert len(found) == len(regions)
    for boxes, region in zip(found, regions, strict=True):
        expected = {b for b in _parts(region) if min(b[2] - b[0], b[3] - b[1]) >= smallest}
        assert sorted(map(tuple, boxes.tolist())) == sorted(expected)
        areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in boxes]
        assert areas == sorted(areas, reverse=True)


@settings(max_examples=60, deadline=None)
@given(st.data(), SMALL, st.sampled_from([IGNORE, 0, None]))
def test_votes_are_counted(data: st.DataObject, shape: tuple[int, ...], ignore: int | None) -> None:
    regions = data.draw(arrays.arrays(np.int64, shape, elements=st.sampled_from([-3, 0, 5])))
    masks = data.draw(arrays.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 255])))
    voted = vote_in_regions(regions, masks, ignore=ignore)
    assert voted.dtype == np.uint8
    for (number, y, x), chosen in np.ndenumerate(voted):
        votes = masks[number][regions[number] == regions[number, y, x]].tolist()
        votes = [vote for vote in votes if vote != ignore]
        most = min(votes, key=lambda vote: (-votes.count(vote), vote), default=ignore)
        assert chosen == most


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: region_boxes(np.zeros((1, 2, 2))), TypeError, "regions must be integers"),
        (lambda: region_boxes([[0, 1]]), ValueError, r"\(n, height, width\).*\(1, 2\)"),
        (lambda: region_boxes([[[0]]], smallest=0), ValueError, "smallest must be"),
        (lambda: vote_in_regions([[[0]]], [[[0, 1]]]), ValueError, r"of regions, \(1, 1, 1\)"),
        (lambda: vote_in_regions([[[0]]], [[[0.5]]]), TypeError, "masks must be integers"),
        (lambda: vote_in_regions([[[0]]], [[[300]]]), ValueError, "0 to 255. Rec.* 300 to 300"),
        (lambda: vote_in_regions([[[0]]], [[[1]]], ignore=256), ValueError, "ignore must be"),
    ],
)
def test_errors_of_regions(call, error, match) -> None:
    with pytest.raises(error, match=match):
        call()
