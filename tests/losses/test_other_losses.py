"""The losses of pairs, classes and proxies against loops, on random batches without symmetry."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_kit import EXAMPLES, ROWS, batch, float64, value_and_gradient
from loss_references import (
    arc_face,
    contrastive,
    cos_face,
    nt_xent,
    numeric_gradient,
    proxy_anchor,
    supervised_contrastive,
)

import keras_dlcourse as kd
from keras_dlcourse.losses import (
    ArcFace,
    ContrastiveLoss,
    CosFace,
    NTXent,
    ProxyAnchor,
    SupervisedContrastive,
)

PAIRS = [(NTXent, nt_xent), (SupervisedContrastive, supervised_contrastive)]
CLASSES = [
    (ArcFace, arc_face, (0.5, 8.0)),
    (ArcFace, arc_face, (2.5, 3.0)),  # most angles are beyond pi - margin
    (CosFace, cos_face, (0.35, 8.0)),
    (ProxyAnchor, proxy_anchor, (0.1, 4.0)),
]


def cosines(rows: int, classes: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels that leave out a class, and cosines from -1 to 1."""
    random = np.random.default_rng(seed)
    return random.integers(0, classes - 1, rows), np.tanh(2 * random.normal(size=(rows, classes)))


def check(loss, reference, y_true, y_pred) -> None:
    """Compare value and gradient with a loop and its central differences."""
    value, gradient = value_and_gradient(loss, y_true, y_pred)
    assert value == pytest.approx(reference(y_pred), rel=1e-9)
    expected = numeric_gradient(reference, y_pred)
    np.testing.assert_allclose(gradient, expected, atol=1e-4 * np.abs(expected).max())
    assert np.abs(expected).max() > 1e-3


@pytest.mark.parametrize(("loss", "reference"), PAIRS)
@pytest.mark.parametrize("temperature", [0.1, 0.7])
def test_pair_losses(loss, reference, temperature: float) -> None:
    labels, x = batch(10, seed=2)
    check(
        loss(temperature, dtype="float64"), lambda e: reference(labels, e, temperature), labels, x
    )


@pytest.mark.parametrize(("loss", "reference"), PAIRS)
@given(rows=st.sampled_from(ROWS), classes=st.integers(1, 5), seed=st.integers(0, 10**6))
@settings(max_examples=EXAMPLES)
def test_pair_losses_of_any_batch(loss, reference, rows: int, classes: int, seed: int) -> None:
    labels, x = batch(rows, 3, classes, seed)
    value, gradient = value_and_gradient(loss(0.3, dtype="float64"), labels, x)
    assert value == pytest.approx(reference(labels, x, 0.3), rel=1e-9)
    assert np.isfinite(gradient).all()
    if value == 0:
        assert not gradient.any()


def test_two_views_of_each_image_are_simclr() -> None:
    """With one positive each, the sum over negatives and it is the sum over all other rows."""
    labels, x = np.arange(12) // 2, batch(12)[1]
    expected = supervised_contrastive(labels, x, 0.5)
    assert float(NTXent(0.5)(labels, x)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("loss", "reference"), PAIRS)
def test_extreme_cosines_stay_finite(loss, reference) -> None:
    labels = np.arange(8) % 2
    for x in (np.zeros((8, 4)), np.ones((8, 4)), np.eye(8)[[0, 0, 0, 0, 1, 1, 2, 2]] * 1e-6):
        value, gradient = value_and_gradient(loss(0.001, dtype="float64"), labels, x)
        assert np.isfinite(value) and np.isfinite(gradient).all()


@pytest.mark.parametrize(("loss", "reference", "arguments"), CLASSES)
def test_losses_of_classes(loss, reference, arguments) -> None:
    labels, y_pred = cosines(9)
    check(
        loss(*arguments, dtype="float64"),
        lambda c: reference(labels, c, *arguments),
        labels,
        y_pred,
    )


@pytest.mark.parametrize(("loss", "reference", "arguments"), CLASSES)
def test_cosines_at_both_ends(loss, reference, arguments) -> None:
    """The angle has an infinite slope there, the loss must not."""
    labels, y_pred = np.array([0, 1, 0]), np.array([[1.0, -1, 0], [1, -1, 0.5], [-1, 1, -1]])
    value, gradient = value_and_gradient(loss(*arguments, dtype="float64"), labels, y_pred)
    assert value == pytest.approx(reference(labels, y_pred, *arguments), rel=1e-9)
    assert np.isfinite(gradient).all()
    large = loss(arguments[0], 500.0, dtype="float64")  # exponentials that no float holds
    value, gradient = value_and_gradient(large, labels, y_pred)
    assert math.isfinite(value) and np.isfinite(gradient).all()


def test_a_weight_is_a_row_so_many_times_in_proxy_anchor() -> None:
    labels, y_pred = cosines(8)
    weights = np.array([0, 1, 2, 1, 3, 0, 1, 1])
    twice = np.repeat(np.arange(8), weights)
    expected = proxy_anchor(labels[twice], y_pred[twice], 0.1, 4.0)
    value = float(ProxyAnchor(0.1, 4.0)(labels, y_pred, weights))
    assert value == pytest.approx(expected, rel=1e-5)
    rows = ProxyAnchor(0.1, 4.0, reduction="none")(labels, y_pred, weights)
    np.testing.assert_allclose(rows, np.full(8, expected), rtol=1e-5)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("one_means", ["different", "same"])
def test_contrastive(squared: bool, one_means: str) -> None:
    random = np.random.default_rng(0)
    different, distances = random.integers(0, 2, 14), random.gamma(2, 0.4, 14)
    assert {(bool(d), bool(x > 0.9)) for d, x in zip(different, distances, strict=True)} == {
        (a, b) for a in (False, True) for b in (False, True)
    }
    y_true = different if one_means == "different" else 1 - different
    loss = ContrastiveLoss(0.9, squared, different=int(one_means == "different"), dtype="float64")
    check(loss, lambda d: contrastive(different, d, 0.9, squared), y_true, distances)
    column = value_and_gradient(loss, y_true[:, None], distances[:, None])[0]
    assert column == value_and_gradient(loss, y_true, distances)[0]


@pytest.mark.parametrize("squared", [False, True])
def test_contrastive_of_embeddings(squared: bool) -> None:
    random = np.random.default_rng(1)
    x, different = random.normal(size=(9, 2, 3)), random.integers(0, 2, 9)

    def reference(both: np.ndarray) -> float:
        apart = np.sqrt(((both[:, 0] - both[:, 1]) ** 2).sum(1))
        return contrastive(different, apart, 2.0, squared)

    loss = ContrastiveLoss(2.0, squared, dtype="float64")
    check(loss, reference, different, x)
    with float64():
        assert float(loss(different, (x[:, 0], x[:, 1]))) == pytest.approx(reference(x))
    # At distance 0: of the root the sub-gradient 0.
    x[:, 1] = x[:, 0]
    assert not value_and_gradient(loss, different, x)[1].any()


class TestCosineDense:
    def test_cosines_of_columns_of_any_length(self) -> None:
        random = np.random.default_rng(0)
        layer = kd.layers.CosineDense(3)
        x, kernel = random.normal(size=(4, 5)) * 10, random.normal(size=(5, 3)) * 0.1
        layer.build((None, 5))
        layer.set_weights([kernel])
        expected = (x / np.linalg.norm(x, axis=1, keepdims=True)) @ (
            kernel / np.linalg.norm(kernel, axis=0)
        )
        np.testing.assert_allclose(layer(x.astype("float32")), expected, rtol=1e-4, atol=1e-6)
        assert not np.asarray(layer(np.zeros((2, 5), "float32"))).any()

    @pytest.mark.parametrize("loss", [ArcFace(0.3, 10.0), CosFace(0.2, 10.0), ProxyAnchor()])
    def test_trains_with_nothing_but_compile(self, loss) -> None:
        """Labels go to the loss alone; the embeddings come out when the layer is left away."""
        keras.utils.set_random_seed(0)
        random = np.random.default_rng(0)
        centres = random.normal(size=(4, 10))
        y = np.arange(80) % 4
        x = centres[y] + 0.3 * random.normal(size=(80, 10))
        inputs = keras.Input((10,))
        embeddings = keras.layers.Dense(6)(inputs)
        model = keras.Model(inputs, kd.layers.CosineDense(4)(embeddings))
        model.compile(keras.optimizers.Adam(0.01), loss)
        history = model.fit(x, y, epochs=25, batch_size=20, verbose=0).history["loss"]
        assert history[-1] < 0.5 * history[0]
        embedded = keras.Model(inputs, embeddings).predict(x, verbose=0)
        embedded /= np.linalg.norm(embedded, axis=1, keepdims=True)
        nearest = (embedded @ embedded.T - 2 * np.eye(80)).argmax(1)
        assert (y[nearest] == y).mean() > 0.95

    def test_needs_a_number_of_channels(self) -> None:
        with pytest.raises(ValueError, match="number of channels"):
            kd.layers.CosineDense(3).build((None, None))
        with pytest.raises(ValueError, match="units.*0"):
            kd.layers.CosineDense(0)
