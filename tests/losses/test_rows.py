"""What all losses do with labels and masks, and what they refuse."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from loss_kit import batch, float64

from keras_dlcourse import losses

OF_EMBEDDINGS = [
    losses.TripletLoss(0.7),
    losses.TripletLoss(0.7, "hard", name="hard"),
    losses.TripletLoss(0.7, "all", name="all"),
    losses.NTXent(0.5),
    losses.SupervisedContrastive(0.5),
]
OF_COSINES = [losses.ArcFace(0.5, 8.0), losses.CosFace(0.2, 8.0), losses.ProxyAnchor(0.1, 4.0)]
ALL = [*OF_EMBEDDINGS, *OF_COSINES, losses.ContrastiveLoss(0.7)]


def ids(loss) -> str:
    return loss.name


def data(loss, rows: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and outputs of a model that fit a loss."""
    labels, x = batch(rows, 5, 3)
    if loss in OF_COSINES:
        return labels, np.tanh(x).astype("float32")
    if isinstance(loss, losses.ContrastiveLoss):
        return labels % 2, np.abs(x[:, 0]).astype("float32")
    return labels, x.astype("float32")


@pytest.mark.parametrize("loss", OF_EMBEDDINGS, ids=ids)
@pytest.mark.parametrize(("dtype", "start"), [("bfloat16", 256), ("float32", 2**24)])
def test_labels_stay_integers(loss, dtype: str, start: int) -> None:
    """256 and 257 are one number in bfloat16, 2**24 and 2**24 + 1 in float32."""
    _, x = data(loss)
    labels = np.arange(12) % 2
    typed = type(loss).from_config({**loss.get_config(), "dtype": dtype})
    assert float(typed(labels + start, x)) == float(typed(labels, x)) != 0
    assert float(typed(labels * 0 + start, x)) == 0  # what merged labels would give
    model = keras.Sequential([keras.Input((5,)), keras.layers.Identity()])
    model.compile(loss=typed)
    in_fit = model.evaluate(x, labels + start, batch_size=12, verbose=0)
    assert in_fit == pytest.approx(float(typed(labels, x)), rel=1e-2)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "uint16", "bool"])
@pytest.mark.parametrize("loss", ALL, ids=ids)
def test_integers_of_any_kind(loss, dtype: str) -> None:
    labels, y_pred = data(loss)
    labels = labels % 2
    expected = float(loss(labels, y_pred))
    assert float(loss(labels.astype(dtype), y_pred)) == expected
    assert float(loss(labels.astype(dtype)[:, None], y_pred)) == expected
    assert float(loss(labels.tolist(), y_pred)) == expected


def masked(y_pred: np.ndarray, mask: np.ndarray):
    """Return what a model puts out whose masking layer has found these rows."""
    tensor = keras.ops.convert_to_tensor(y_pred)
    tensor._keras_mask = keras.ops.convert_to_tensor(mask)
    return tensor


@pytest.mark.parametrize("loss", ALL, ids=ids)
def test_masked_rows_take_no_part(loss) -> None:
    labels, y_pred = data(loss)
    mask = np.array([1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 1, 0], bool)
    expected = float(loss(labels[mask], y_pred[mask]))
    assert expected != pytest.approx(float(loss(labels, y_pred)))
    labels[~mask], y_pred[~mask] = 99, np.nan  # padding of any kind
    assert float(loss(labels, masked(y_pred, mask))) == pytest.approx(expected, rel=1e-5)
    none = masked(y_pred, np.zeros(12, bool))
    assert float(loss(labels, none)) == 0


def test_masked_by_a_layer_in_fit() -> None:
    labels, x = data(OF_EMBEDDINGS[0])
    x[[3, 7]] = 0
    model = keras.Sequential(
        [keras.Input((5,)), keras.layers.Masking(0.0), keras.layers.Dense(4, use_bias=False)]
    )
    loss = losses.TripletLoss(0.7)
    model.compile(loss=loss)
    kept = np.arange(12) % 4 != 3
    kept[11] = True
    expected = float(loss(labels[kept], model.predict(x, verbose=0)[kept]))
    assert model.evaluate(x, labels, batch_size=12, verbose=0) == pytest.approx(expected, rel=1e-5)


def test_three_inputs_masked() -> None:
    x = np.random.default_rng(0).normal(size=(6, 3, 4)).astype("float32")
    mask = np.array([1, 0, 1, 1, 0, 1], bool)
    loss = losses.TripletLoss(2.0, mining=None)
    assert float(loss(None, masked(x, mask))) == pytest.approx(float(loss(None, x[mask])), rel=1e-6)


class TestBadInput:
    @pytest.mark.parametrize("loss", ALL, ids=ids)
    def test_labels(self, loss) -> None:
        labels, y_pred = data(loss)
        with pytest.raises(TypeError, match="integer labels. Received: float32.*unique"):
            loss(labels.astype("float32"), y_pred)
        with pytest.raises(ValueError, match=r"y_true.*\(12, 3\).*one-hot.*argmax"):
            loss(np.eye(3, dtype="int32")[labels], y_pred)
        with pytest.raises(ValueError, match=r"y_true.*Received: \(\)"):
            loss(np.int32(1), y_pred)
        with pytest.raises(ValueError, match="11 labels for 12"):
            loss(labels[:11], y_pred)

    @pytest.mark.parametrize("loss", ALL, ids=ids)
    def test_outputs(self, loss) -> None:
        labels, y_pred = data(loss)
        with pytest.raises(ValueError, match=r"y_pred must be .* Received: \(2, 3, 2, 1\)"):
            loss(labels, np.zeros((2, 3, 2, 1), "float32"))
        y_pred[4:6] = np.nan
        with pytest.raises(ValueError, match="NaN or infinite values in 2 of 12 rows.*row 4"):
            loss(labels, y_pred)

    @pytest.mark.parametrize("loss", OF_COSINES, ids=ids)
    def test_cosines_and_classes(self, loss) -> None:
        labels, y_pred = data(loss)
        with pytest.raises(ValueError, match="from -1 to 1. Received: a value of size 7"):
            loss(labels, 7 * y_pred / np.abs(y_pred).max())
        for wrong in (5, -1):
            labels[3] = wrong
            with pytest.raises(ValueError, match=f"class numbers 0..4.*{wrong} in row 3"):
                loss(labels, y_pred)
            model = keras.Sequential([keras.Input((5,)), keras.layers.Identity()])
            model.compile(loss=loss)
            assert np.isnan(model.evaluate(y_pred, labels, verbose=0))

    def test_contrastive(self) -> None:
        loss = losses.ContrastiveLoss()
        with pytest.raises(ValueError, match="0 or 1.*Received: 2"):
            loss([0, 2], np.ones(2))
        with pytest.raises(ValueError, match="0 or more"):
            loss([0, 1], np.array([0.5, -0.5]))
        with pytest.raises(ValueError, match=r"y_pred.*\(2, 3, 4\)"):
            loss([0, 1], np.zeros((2, 3, 4)))

    def test_three_inputs(self) -> None:
        loss = losses.TripletLoss(mining=None)
        for wrong in (np.zeros((4, 2, 5)), np.zeros((4, 5))):
            with pytest.raises(ValueError, match=r"\(rows, 3, dimensions\). Received"):
                loss(None, wrong)

    def test_a_mask_of_time_steps(self) -> None:
        labels, x = data(OF_EMBEDDINGS[0])
        with pytest.raises(ValueError, match=r"one entry for each row.*\(12, 7\)"):
            OF_EMBEDDINGS[0](labels, masked(x, np.ones((12, 7), bool)))


def test_float64_stays_float64() -> None:
    for loss in ALL:
        labels, y_pred = data(loss)
        double = type(loss).from_config({**loss.get_config(), "dtype": "float64"})
        with float64():
            value = double(labels, y_pred.astype("float64"))
            assert keras.backend.standardize_dtype(value.dtype) == "float64"
            assert float(value) == pytest.approx(float(loss(labels, y_pred)), rel=1e-5)
