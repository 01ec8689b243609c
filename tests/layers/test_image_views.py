"""Each view beside NumPy, and what goes with which size."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_dlcourse.layers import ImageViews

X = np.random.default_rng(0).normal(size=(3, 6, 6, 2)).astype("float32")

REFERENCES = {
    ("identity",): lambda x: x,
    ("flip",): lambda x: x[:, :, ::-1],
    ("flip_vertical",): lambda x: x[:, ::-1],
    ("rotate_90",): lambda x: np.rot90(x, 1, (1, 2)),
    ("rotate_180",): lambda x: np.rot90(x, 2, (1, 2)),
    ("rotate_270",): lambda x: np.rot90(x, 3, (1, 2)),
    ("shift", 2, -1): lambda x: np.pad(x, [(0, 0), (2, 0), (0, 1), (0, 0)], "symmetric")[:, :6, 1:],
    # Half of it, whose corner is at 1.5: that is rounded to 2.
    ("zoom", 2.0): lambda x: _enlarged(x[:, 2:5, 2:5]),
    ("crop", 0.5, 1.0, 0.0): lambda x: _enlarged(x[:, 3:, :3]),
}


def _enlarged(part):
    """Resize 3 to 6 bilinearly, with half pixels, by hand."""
    at = np.clip((np.arange(6) + 0.5) / 2 - 0.5, 0, 2)
    low = np.minimum(at.astype(int), 1)
    matrix = np.zeros((6, 3))
    matrix[np.arange(6), low] = 1 - (at - low)
    matrix[np.arange(6), low + 1] = at - low
    return np.einsum("ij,njkc,lk->nilc", matrix, part, matrix)


def test_every_view():
    layer = ImageViews(list(REFERENCES))
    found = keras.ops.convert_to_numpy(layer(X))
    assert found.shape == layer.compute_output_shape(X.shape) == (3, len(REFERENCES), 6, 6, 2)
    for number, (view, reference) in enumerate(REFERENCES.items()):
        np.testing.assert_allclose(found[:, number], reference(X), atol=1e-5, err_msg=str(view))


@settings(max_examples=min(25, settings.default.max_examples))
@given(st.integers(3, 7), st.integers(3, 7), st.data())
def test_shifts_of_any_size(height, width, data):
    down = data.draw(st.integers(1 - height, height - 1))
    right = data.draw(st.integers(1 - width, width - 1).filter(lambda n: n or down))
    x = np.random.default_rng(1).normal(size=(1, height, width, 1)).astype("float32")
    found = keras.ops.convert_to_numpy(ImageViews([("shift", down, right)])(x))[:, 0]
    rows = [_mirrored(row - down, height) for row in range(height)]
    columns = [_mirrored(column - right, width) for column in range(width)]
    np.testing.assert_array_equal(found, x[:, rows][:, :, columns])


def _mirrored(place, size):
    return -1 - place if place < 0 else 2 * size - 1 - place if place >= size else place


def test_config_round_trip():
    layer = ImageViews(list(REFERENCES), name="seen")
    twin = ImageViews.from_config(json.loads(json.dumps(layer.get_config())))
    assert twin.views == layer.views and twin.name == "seen"
    np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (layer(X), twin(X))))


@pytest.mark.parametrize(
    ("views", "error", "message"),
    [
        ("flip", TypeError, "list of views.*'flip'"),
        ([], ValueError, "one or more"),
        (["flip", ("flip",)], ValueError, "each at most once"),
        (["mirror"], ValueError, "'flip'.*Received: 'mirror'"),
        ([("flip", 1)], ValueError, r"Received: \('flip', 1\)"),
        ([("shift", 0, 0)], ValueError, "shift"),
        ([("shift", 0.5, 0)], ValueError, "shift"),
        ([("zoom", 1.0)], ValueError, "zoom"),
        ([("crop", 0.5, 2, 0)], ValueError, "crop"),
    ],
)
def test_bad_views(views, error, message):
    with pytest.raises(error, match=message):
        ImageViews(views)


@pytest.mark.parametrize(
    ("views", "shape", "message"),
    [
        (["rotate_90"], (None, 4, 5, 1), "square"),
        ([("shift", 4, 0)], (None, 4, 5, 1), "shift by less than the image"),
        (["flip"], (None, None, 5, 1), "fixed size"),
    ],
)
def test_sizes_that_do_not_go(views, shape, message):
    with pytest.raises(ValueError, match=message):
        ImageViews(views)(keras.KerasTensor(shape))
