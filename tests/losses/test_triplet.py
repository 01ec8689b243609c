"""Triplet loss against loops over all triplets, on random batches without symmetry."""

from __future__ import annotations

import itertools
import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from loss_kit import COMPILES_EACH, EXAMPLES, ROWS, batch, float64, value_and_gradient
from loss_references import distance, numeric_gradient, of_triplets, triplets

from keras_dlcourse.losses import TripletLoss

MININGS = ("semi_hard", "hard", "all")
KINDS = ("euclidean", "squared", "cosine")
FORMS = list(itertools.product(MININGS, KINDS, (False, True), ("valid", "active")))
if COMPILES_EACH:
    FORMS = FORMS[::5]  # each mining, distance, form


@pytest.mark.parametrize(("mining", "kind", "soft", "over"), FORMS)
def test_value_and_gradient_are_those_of_the_loop(mining, kind, soft, over) -> None:
    labels, embeddings = batch(11, seed=3)
    margin = 0.3
    taken = triplets(labels, embeddings, mining, kind)
    assert len(taken) > 8

    def reference(x: np.ndarray) -> float:
        return of_triplets(x, taken, margin, kind, soft, over)

    loss = TripletLoss(margin, mining, kind, soft, over, dtype="float64")
    value, gradient = value_and_gradient(loss, labels, embeddings)
    assert value == pytest.approx(reference(embeddings), rel=1e-10)
    expected = numeric_gradient(reference, embeddings)
    np.testing.assert_allclose(gradient, expected, atol=1e-4 * np.abs(expected).max())
    assert np.abs(expected).max() > 1e-2


@given(st.sampled_from(ROWS), st.integers(1, 5), st.integers(0, 10**6), st.sampled_from(MININGS))
@settings(max_examples=EXAMPLES)
def test_any_batch(rows: int, classes: int, seed: int, mining: str) -> None:
    """Few rows, classes of one row, a single class: whatever comes."""
    labels, embeddings = batch(rows, 3, classes, seed)
    loss = TripletLoss(0.7, mining, over="active", dtype="float64")
    value, gradient = value_and_gradient(loss, labels, embeddings)
    taken = triplets(labels, embeddings, mining)
    assert value == pytest.approx(of_triplets(embeddings, taken, 0.7, over="active"), rel=1e-9)
    assert np.isfinite(gradient).all()
    if not taken:
        assert value == 0 and not gradient.any()


def masked_cube(labels, embeddings, margin: float):
    """Semi-hard loss as TensorFlow Addons defines it: every pair beside every other row."""
    squares = ops.sum(ops.square(embeddings[:, None] - embeddings[None]), axis=-1)
    d = ops.sqrt(ops.where(squares > 0, squares, 1.0)) * ops.cast(squares > 0, squares.dtype)
    same = labels[:, None] == labels[None]
    others = ops.convert_to_tensor(~same)[:, None, :]
    farther = ops.logical_and(others, d[:, None, :] > d[:, :, None])  # anchor, positive, negative
    nearest = ops.min(ops.where(farther, d[:, None, :], 1e9), axis=2)
    farthest = ops.max(ops.where(others, d[:, None, :], -1e9), axis=2)
    negative = ops.where(ops.any(farther, axis=2), nearest, farthest)
    positive = same & ~np.eye(len(labels), dtype=bool)
    losses = ops.maximum(margin + d - negative, 0.0) * ops.cast(positive, d.dtype)
    return ops.sum(losses) / positive.sum()


@pytest.mark.parametrize("seed", range(3))
def test_sorting_gives_the_numbers_and_gradients_of_the_masked_cube(seed: int) -> None:
    labels, embeddings = batch(96, 16, 12, seed)
    loss = TripletLoss(dtype="float64")
    value, gradient = value_and_gradient(loss, labels, embeddings)

    def cube(_, x):
        return masked_cube(labels, x, 1.0)

    expected, expected_gradient = value_and_gradient(cube, labels, embeddings)
    assert value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-12)


@pytest.mark.parametrize("distance_", KINDS)
@pytest.mark.parametrize("as_tuple", [True, False])
def test_three_inputs(distance_: str, as_tuple: bool) -> None:
    random = np.random.default_rng(0)
    parts = random.normal(size=(3, 7, 4))
    losses = [
        max(0.0, 0.4 + distance(distance_, a, p) - distance(distance_, a, n))
        for a, p, n in zip(*parts, strict=True)
    ]
    given_ = tuple(parts) if as_tuple else np.stack(parts, axis=1)
    loss = TripletLoss(0.4, mining=None, distance=distance_)
    assert float(loss(None, given_)) == pytest.approx(np.mean(losses), rel=1e-5)
    active = TripletLoss(0.4, mining=None, distance=distance_, over="active")
    expected = np.mean([value for value in losses if value > 0])
    assert float(active(None, given_)) == pytest.approx(expected, rel=1e-5)
    rows = TripletLoss(0.4, mining=None, distance=distance_, reduction=None)
    np.testing.assert_allclose(rows(None, given_), losses, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mining", MININGS)
class TestDegenerate:
    def test_no_triplet(self, mining: str) -> None:
        _, x = batch(6)
        for labels in (np.zeros(6, int), np.arange(6)):
            value, gradient = value_and_gradient(TripletLoss(0.5, mining), labels, x)
            assert value == 0 and not gradient.any()

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("point", [0.0, 3.7])
    def test_all_embeddings_alike(self, mining: str, kind: str, point: float) -> None:
        """Collapsed: the loss is the margin, and there is no gradient, NaN least of all."""
        labels = np.arange(8) % 3
        x = np.full((8, 5), point)
        for soft, expected in ((False, 0.5), (True, math.log1p(math.exp(0.5)))):
            loss = TripletLoss(0.5, mining, kind, soft, dtype="float64")
            value, gradient = value_and_gradient(loss, labels, x)
            assert value == pytest.approx(expected, rel=1e-6)
            np.testing.assert_allclose(gradient, 0, atol=1e-6)
        plain = TripletLoss(None, mining, kind, soft=True)
        assert float(plain(labels, x)) == pytest.approx(math.log(2), rel=1e-6)

    def test_some_rows_alike(self, mining: str) -> None:
        labels, x = batch(12)
        x[1], x[5], x[7] = x[0], x[0], 0
        for kind in KINDS:
            loss = TripletLoss(0.5, mining, kind, dtype="float64")
            assert np.isfinite(value_and_gradient(loss, labels, x)[1]).all()

    def test_far_from_the_origin(self, mining: str) -> None:
        """float32 keeps the digits of distances that are small beside the embeddings' length."""
        labels, x = batch(32, 16, 5)
        near = float(TripletLoss(0.5, mining)(labels, x.astype("float32")))
        far = float(TripletLoss(0.5, mining)(labels, (x + 300).astype("float32")))
        assert far == pytest.approx(near, rel=1e-3)

    def test_nan_comes_through_compiled_code(self, mining: str) -> None:
        labels, x = batch(12)
        x[0, 0] = float("nan")
        labels[:2] = 0
        loss = TripletLoss(0.5, mining)
        model = keras.Sequential([keras.Input((5,)), keras.layers.Identity()])
        model.compile(loss=loss)
        assert math.isnan(model.evaluate(x, labels, verbose=0))


def test_equal_rows_have_no_distance_in_float32() -> None:
    """The product of matrices leaves noise on the diagonal; the loss must not see it."""
    from keras_dlcourse.losses.embedding._distances import pairwise_distances

    for dimensions in (2, 33, 128, 1000):
        x = np.random.default_rng(0).normal(size=(50, dimensions)).astype("float32") + 5
        x = ops.convert_to_tensor(np.concatenate([x, x]))
        found = ops.convert_to_numpy(pairwise_distances("euclidean", x, x))
        for offset in (-50, 0, 50):
            assert np.abs(np.diagonal(found, offset)).max() < 1e-9
        exact = np.asarray(x, "float64")
        expected = ((exact[:, None] - exact[None]) ** 2).sum(-1)
        # float32 has 7 digits of the squared length of the rows, around their centre.
        atol = 1e-5 * ((exact - exact.mean(0)) ** 2).sum(1).max()
        np.testing.assert_allclose(found**2, expected, atol=atol)


def test_a_row_is_told_its_share() -> None:
    """Reduction, weights: the value of a row is its triplets' sum, so scaled that means agree."""
    labels, x = batch(10, seed=5)
    taken = triplets(labels, x, "all")
    anchors = np.array([a for a, _, _ in taken])
    each = [of_triplets(x, [t], 0.7) for t in taken]
    expected = np.bincount(anchors, each, minlength=10) * 10 / len(taken)
    with float64():
        rows = TripletLoss(0.7, "all", reduction="none", dtype="float64")(labels, x)
        np.testing.assert_allclose(rows, expected, rtol=1e-9)
        total = TripletLoss(0.7, "all", reduction="sum", dtype="float64")(labels, x)
        assert float(total) == pytest.approx(expected.sum())
        weights = np.random.default_rng(0).uniform(size=10)
        value = TripletLoss(0.7, "all", dtype="float64")(labels, x, weights)
        assert float(value) == pytest.approx(of_triplets(x, taken, 0.7, weights=weights))


def test_many_triplets_are_counted_in_half_precision() -> None:
    """float16 ends at 65,504; there are more triplets than that in 64 rows."""
    labels, x = np.arange(64) % 2, batch(64, 5)[1]
    full = float(TripletLoss(0.5, "all")(labels, x.astype("float32")))
    half = float(TripletLoss(0.5, "all", dtype="float16")(labels, x.astype("float16")))
    assert half == pytest.approx(full, rel=5e-3)
