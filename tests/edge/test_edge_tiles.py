"""Tiles cover an image of any size, and blend into it again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_dlcourse.edge import Tiles

SIDES = st.integers(1, 60)


@st.composite
def cases(draw):
    margin = draw(st.integers(0, 4))
    output = draw(st.tuples(st.integers(1, 30), st.integers(1, 30)))
    overlap = draw(st.integers(0, min(output) - 1))
    tile = tuple(side + 2 * margin for side in output)
    return draw(st.tuples(SIDES, SIDES)), tile, overlap, margin


@settings(max_examples=80)
@given(cases(), st.integers(0, 2**16))
def test_what_is_cut_is_stitched_again(case, seed):
    """Weights that do not sum to 1, a tile at a wrong place or a missing one would show."""
    size, tile, overlap, margin = case
    image = np.random.default_rng(seed).normal(size=(*size, 2))
    tiles = Tiles(size, tile, overlap, margin)
    cut = list(tiles.cut(image))
    assert len(cut) == len(tiles) and {each.shape for each in cut} == {(*tile, 2)}
    inner = slice(margin, -margin or None)
    np.testing.assert_allclose(
        tiles.stitch(each[inner, inner] for each in cut), image, rtol=0, atol=1e-5
    )


@settings(max_examples=80)
@given(cases())
def test_tiles_lie_in_the_image_and_overlap_enough(case):
    size, tile, overlap, margin = case
    tiles = Tiles(size, tile, overlap, margin)
    for axis in range(2):
        starts = np.unique(tiles.corners[:, axis])
        output = tiles.output_size[axis]
        assert starts[0] == 0 and starts[-1] == max(0, size[axis] - output)
        assert (np.diff(starts) <= output - overlap).all()
        # One tile less would be too few.
        assert (len(starts) - 2) * (output - overlap) + output < size[axis] or len(starts) == 1


def test_the_margin_shows_the_mirrored_image_around_it():
    """A network that answers with the mean of 3x3 pixels sees the same as on the whole image."""
    image = np.random.default_rng(0).normal(size=(11, 9))
    padded = np.pad(image, 1, mode="reflect")

    def mean(x):
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3))
        return windows.mean(axis=(2, 3))

    tiles = Tiles((11, 9), (6, 5), overlap=1, margin=1)
    stitched = tiles.stitch(map(mean, tiles.cut(image)))
    np.testing.assert_allclose(stitched, mean(padded), atol=1e-6)


def test_blending_goes_gradually_from_one_tile_to_the_next():
    tiles = Tiles((8, 12), (8, 8), overlap=4)
    line = tiles.stitch([np.zeros((8, 8)), np.ones((8, 8))])[3]
    np.testing.assert_allclose(line, [0, 0, 0, 0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1], atol=1e-6)


def test_an_image_is_not_copied_where_tiles_lie_inside_it():
    image = np.zeros((64, 64, 3), "uint8")
    assert all(np.shares_memory(tile, image) for tile in Tiles((64, 64), (32, 32)).cut(image))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (((8, 8), (4, 4), 4), ValueError, "overlap must be below 4, the smaller side"),
        (((8, 8), (4, 4), 0, 2), ValueError, r"margin must leave some of the tile_size \(4, 4\)"),
        (((8, 0), (4, 4)), ValueError, "image_size must be an integer of at least 1. Received: 0"),
        (((8, 8), 4), TypeError, r"tile_size must be \(height, width\). Received: 4"),
        (((8, 8), (4, 4.0)), TypeError, "tile_size must be an integer"),
    ],
)
def test_arguments_that_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Tiles(*arguments)


def test_images_and_outputs_that_are_refused():
    tiles = Tiles((8, 8), (4, 4))
    with pytest.raises(ValueError, match=r"image must have the size \(8, 8\). Received: \(8, 9\)"):
        next(tiles.cut(np.zeros((8, 9))))
    with pytest.raises(ValueError, match="one for each of the 4 tiles. Received: 3"):
        tiles.stitch([np.zeros((4, 4))] * 3)
    with pytest.raises(ValueError, match="one for each of the 4 tiles. Received: more"):
        tiles.stitch([np.zeros((4, 4))] * 5)
    with pytest.raises(ValueError, match=r"outputs must have the size \(4, 4\). Received: \(4, 5"):
        tiles.stitch([np.zeros((4, 5))] * 4)
    with pytest.raises(TypeError, match="Received: int64. Stitch the scores"):
        tiles.stitch([np.zeros((4, 4), int)] * 4)
