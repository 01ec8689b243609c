"""Features made by hand, against loops over pixels, cells and blocks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_dlcourse as kd


def _loops(image, cell, block, bins):
    """HOG of one image, as the paper says it, one pixel at a time."""
    height, width, channels = image.shape
    rows, columns = height // cell, width // cell
    votes = np.zeros((rows, columns, bins))
    for y in range(rows * cell):
        for x in range(columns * cell):
            best = (0.0, 0.0, 0.0)
            for c in range(channels):
                plane = image[..., c].astype(float)
                down = plane[y + 1, x] - plane[y - 1, x] if 0 < y < height - 1 else 0.0
                right = plane[y, x + 1] - plane[y, x - 1] if 0 < x < width - 1 else 0.0
                if math.hypot(down, right) > best[0]:
                    best = (math.hypot(down, right), down, right)
            strength, down, right = best
            degrees = math.degrees(math.atan2(down, right)) % 180
            wide = 180 / bins
            for number in range(bins):  # a vote goes to directions nearer than one bin
                distance = abs(degrees - (number + 0.5) * wide)
                distance = min(distance, 180 - distance)
                if bins == 1:
                    votes[y // cell, x // cell, 0] += strength
                elif distance < wide:
                    votes[y // cell, x // cell, number] += strength * (1 - distance / wide)
    found = []
    for row in range(rows - block + 1):
        for column in range(columns - block + 1):
            part = votes[row : row + block, column : column + block].ravel()
            for clip in (0.2, None):
                length = math.sqrt(sum(value**2 for value in part))
                part = part / length if length else part
                part = np.minimum(part, clip) if clip else part
            found.extend(part)
    return np.array(found)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(6, 13),
    width=st.integers(6, 13),
    channels=st.integers(1, 3),
    cell=st.integers(1, 3),
    block=st.integers(1, 2),
    bins=st.sampled_from((1, 3, 9)),
    dtype=st.sampled_from(("uint8", "float32")),
)
def test_hog_is_that_of_loops(seed, height, width, channels, cell, block, bins, dtype):
    """Odd sizes leave pixels over; several images are described one by one."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (2, height, width, channels)).astype(dtype)
    found = kd.data.hog(images, cell=cell, block=block, bins=bins)
    expected = [_loops(image, cell, block, bins) for image in images]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_light_and_contrast_do_not_count_and_directions_do():
    rng = np.random.default_rng(0)
    images = rng.integers(50, 100, (3, 16, 16, 1)).astype("uint8")
    plain = kd.data.hog(images)
    np.testing.assert_allclose(kd.data.hog(2 * images + 20), plain, atol=1e-5)
    ramp = np.tile(np.arange(16.0), (16, 1))[None, ..., None]
    for image, direction in ((ramp, 0), (ramp.transpose(0, 2, 1, 3), 90)):
        strongest = kd.data.hog(image, bins=18).reshape(4, 18).sum(0)
        # Of 18 directions the middles are 5, 15, ... degrees: 0 and 90 lie between two.
        assert set(np.flatnonzero(strongest > 1e-6)) == {
            (direction // 10 - 1) % 18,
            direction // 10,
        }


def test_many_images_go_in_parts(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (9, 16, 17, 3)).astype("uint8")
    whole = kd.data.hog(images)
    monkeypatch.setattr("keras_dlcourse.data.descriptors._AT_A_TIME", 2000)
    np.testing.assert_array_equal(kd.data.hog(images), whole)


@given(seed=st.integers(0, 2**32 - 1), channels=st.integers(1, 3), bins=st.integers(1, 7))
def test_color_histogram_is_numpys(seed, channels, bins):
    images = np.random.default_rng(seed).integers(0, 256, (2, 5, 4, channels)).astype("uint8")
    found = kd.data.color_histogram(images, bins=bins)
    for row, image in zip(found, images, strict=True):
        points = image.reshape(-1, channels)
        expected, _ = np.histogramdd(points, [np.arange(bins + 1) * 256 / bins] * channels)
        np.testing.assert_allclose(row, expected.ravel() / 20, atol=1e-7)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: kd.data.hog(np.zeros((2, 8, 8))), ValueError, "Add the channel"),
        (lambda: kd.data.hog(np.zeros((2, 8, 28, 1))), ValueError, "16 x 16.*Received: 8 x 28"),
        (
            lambda: kd.data.hog(np.zeros((2, 28, 28, 1)), cell=0),
            ValueError,
            "cell must be an integer of at least 1",
        ),
        (
            lambda: kd.data.hog(np.zeros((2, 28, 28, 1)), bins=1.5),
            TypeError,
            "bins must be an integer",
        ),
        (lambda: kd.data.color_histogram(np.zeros((2, 8, 8, 1))), TypeError, "must be uint8"),
        (
            lambda: kd.data.color_histogram(np.zeros((2, 8, 8, 1), "uint8"), bins=300),
            ValueError,
            "bins must be an integer from 1 to 256. Received: 300",
        ),
    ],
)
def test_what_is_refused(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
