"""Augmented Grad-CAM: its operators, its objective beside Adam's, and a map known beforehand."""

import keras
import numpy as np
import pytest
from explained_models import classifier, images, randomised
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers as L
from scipy import ndimage, sparse

from keras_dlcourse import explain
from keras_dlcourse.explain.engine.scaling import resize_maps
from keras_dlcourse.explain.maps.augmented import _moves
from keras_dlcourse.explain.maps.super_resolution import (
    build_averaging_matrix,
    build_motion_matrix,
    super_resolve,
)


@settings(max_examples=30)
@given(
    st.tuples(st.integers(2, 12), st.integers(2, 12)),
    st.floats(-3, 3),
    st.tuples(st.floats(-4, 4), st.floats(-4, 4)),
)
def test_motion_is_scipys(size, angle, shift):
    image = np.random.default_rng(0).normal(size=size)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = (np.array(size) - 1) / 2
    offset = centre - turn @ (centre + shift)
    # grid-constant interpolates towards 0 at the border, as the matrix does.
    expected = ndimage.affine_transform(image, turn, offset, order=1, mode="grid-constant")
    ours = (build_motion_matrix(size, angle, shift) @ image.reshape(-1)).reshape(size)
    np.testing.assert_allclose(ours, expected, atol=1e-8)


def test_averaging_takes_the_mean_under_each_place():
    image = np.random.default_rng(0).normal(size=(12, 8))
    ours = (build_averaging_matrix((12, 8), (3, 4)) @ image.reshape(-1)).reshape(3, 4)
    np.testing.assert_allclose(ours, image.reshape(3, 4, 4, 2).mean((1, 3)))
    uneven = build_averaging_matrix((7, 5), (3, 2))
    np.testing.assert_allclose(uneven.sum(1), 1)
    np.testing.assert_allclose(uneven.sum(0), 6 / 35)


def _planted(size=(48, 48)):
    """Two blobs and a bar, as sharp as a map of the object would be."""
    h = np.zeros(size)
    y, x = np.mgrid[: size[0], : size[1]]
    h[(y - 14) ** 2 + (x - 15) ** 2 < 49] = 1.0
    h[30:38, 22:40] = 0.7
    return h


def _operators(size, low, copies):
    moves = _moves(size, copies, 0.5, 30 / 224, seed=1)
    return sparse.vstack(
        [build_averaging_matrix(size, low) @ build_motion_matrix(size, *move) for move in moves]
    ).tocsr()


def test_a_known_map_is_found_again_finer_than_by_enlarging():
    h, low = _planted(), (6, 6)
    operators = _operators(h.shape, low, 100)
    coarse = operators @ h.reshape(-1)
    coarse += np.random.default_rng(0).normal(0, 0.01, coarse.shape)
    start = resize_maps(coarse[:36].reshape(low), h.shape)
    found = super_resolve(
        operators, coarse, h.shape, variation=0.2, ridge=0.01, steps=200, start=start
    )
    error, plain = (np.sqrt(np.mean((each - h) ** 2)) for each in (found, start))
    assert error <= 0.7 * plain


def test_the_objective_is_no_higher_than_adams():
    size, low, copies = (24, 20), (4, 4), 20
    h = ndimage.zoom(_planted(), (0.5, 20 / 48), order=1)
    operators = _operators(size, low, copies)
    coarse = operators @ h.reshape(-1)
    variation, ridge = 0.002 * copies, 0.0001 * copies

    def objective(x):
        plane, error = x.reshape(size), operators @ x - coarse
        total = sum(np.abs(np.diff(plane, axis=axis)).sum() for axis in (0, 1))
        return error @ error + variation * total + ridge * x @ x

    def gradient(x):
        plane, found = x.reshape(size), np.zeros(size)
        rows, columns = np.sign(np.diff(plane, axis=0)), np.sign(np.diff(plane, axis=1))
        found[1:] += rows
        found[:-1] -= rows
        found[:, 1:] += columns
        found[:, :-1] -= columns
        fit = 2 * operators.T @ (operators @ x - coarse)
        return fit + variation * found.reshape(-1) + 2 * ridge * x

    start = resize_maps(coarse[:16].reshape(low), size)
    x, first, second = start.reshape(-1).astype("float64"), 0.0, 0.0
    for step in range(1, 2001):  # ten times the paper's
        slope = gradient(x)
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        x = x - 1e-3 * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    ours = super_resolve(
        operators, coarse, size, variation=variation, ridge=ridge, steps=200, start=start
    )
    assert objective(ours.reshape(-1).astype("float64")) <= 1.01 * objective(x)
    assert objective(x) < 0.5 * objective(start.reshape(-1).astype("float64"))


def _spot_model():
    """Class 1 is the brightness of red; cells of 8 x 8 pixels."""
    given = keras.Input((48, 48, 3))
    seen = L.Conv2D(1, 8, strides=8, use_bias=False, name="cells")(given)
    model = keras.Model(given, L.Dense(2, use_bias=False)(L.GlobalAveragePooling2D()(seen)))
    kernel = np.zeros((8, 8, 3, 1))
    kernel[..., 0, 0] = 1 / 64
    model.set_weights([kernel, np.array([[0.0, 1.0]])])
    return model


@pytest.mark.parametrize("fusion", ["super_resolution", "mean", "max"])
def test_a_spot_smaller_than_a_cell_is_found_where_it_is(fusion):
    image = np.zeros((1, 48, 48, 3), "float32")
    image[0, 20:25, 27:32, 0] = 1.0
    ours = explain.augmented_grad_cam(_spot_model(), image, 1, fusion=fusion)[0]
    row, column = np.unravel_index(ours.argmax(), ours.shape)
    assert abs(row - 22) <= 3 and abs(column - 29) <= 3
    plain = explain.grad_cam(_spot_model(), image, 1)[0]
    if fusion == "super_resolution":  # and its form
        truth = image[0, ..., 0] > 0
        shared = [((m > 0.5) & truth).sum() / ((m > 0.5) | truth).sum() for m in (ours, plain)]
        assert shared[0] > 0.45 and shared[0] > 1.3 * shared[1]


def test_one_copy_without_weights_fits_the_coarse_map():
    model, x = classifier(), images(2)
    h = explain.augmented_grad_cam(
        model, x, 1, raw=True, copies=1, variation=0.0, ridge=1e-9, steps=300
    )
    coarse = explain.grad_cam(model, x, 1, raw=True)
    again = (build_averaging_matrix((10, 12), (5, 6)) @ h.reshape(2, -1).T).T.reshape(2, 5, 6)
    np.testing.assert_allclose(again, coarse, atol=0.01 * coarse.max())


def test_the_same_seed_gives_the_same_map():
    model, x = randomised(classifier()), images(1)
    first, second, other = (
        explain.augmented_grad_cam(model, x, copies=5, seed=seed) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 1e-3


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"copies": 0}, ValueError, "copies must be an integer of at least 1"),
        ({"steps": 1.5}, TypeError, "steps must be an integer of at least 1"),
        ({"angle": -0.1}, ValueError, "angle must be a number from 0 to 3.14"),
        ({"shift": 2}, ValueError, "shift must be a number from 0 to 1"),
        ({"variation": float("nan")}, ValueError, "variation must be"),
        (
            {"fusion": "median"},
            ValueError,
            "fusion must be one of 'super_resolution', 'mean', 'max'",
        ),
        ({"method": "cam"}, ValueError, "method must be one of 'grad_cam'"),
    ],
)
def test_mistakes_are_said(options, error, message):
    with pytest.raises(error, match=message):
        explain.augmented_grad_cam(classifier(), images(1), 1, **options)
