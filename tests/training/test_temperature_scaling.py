"""The temperature against scikit-learn's and a grid, and in the exported file."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_dlcourse as kd
from keras_dlcourse.graph.logits import find_logits, logits_model
from keras_dlcourse.graph.running import Network
from keras_dlcourse.training import TemperatureScaling

L = keras.layers
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (300, 6, 5, 1)).astype("uint8")


def _ends(name):
    """A model that is too sure, with the end of this name."""
    inputs = keras.Input((6, 5, 1))
    x = L.Conv2D(4, 3, activation="relu")(L.Rescaling(1 / 64, -2)(inputs))
    if name == "dense":
        x = L.Dense(3, activation="softmax")(L.Flatten()(x))
    elif name == "apart":
        x = L.Softmax()(L.Dense(3)(L.Flatten()(x)))
    elif name == "logits":
        x = L.Dense(3)(L.Flatten()(x))
    elif name == "pooled":
        x = L.Activation("softmax")(L.GlobalAveragePooling2D()(L.Conv2D(3, 1)(x)))
    elif name == "sigmoid":
        x = L.Dense(3, activation="sigmoid")(L.Flatten()(x))
    elif name == "nested":
        head = keras.Sequential([keras.Input((48,)), L.Dense(3), L.Softmax()])
        x = head(L.Flatten()(x))
    model = keras.Model(inputs, x)
    for weight in model.weights:
        weight.assign(np.random.default_rng(5).normal(size=weight.shape))
    return model


def _logits(model):
    network = Network(model)
    return np.asarray(logits_model(network, find_logits(network)).predict(IMAGES, verbose=0), float)


def _drawn(logits, sigmoid=False):
    """Labels drawn as if the logits were three times too large."""
    random = np.random.default_rng(1)
    if sigmoid:
        return (random.random(logits.shape) < 1 / (1 + np.exp(-logits / 3))).astype(int)
    return (logits / 3 + random.gumbel(size=logits.shape)).argmax(axis=1)


ENDS = ["dense", "apart", "logits", "pooled", "sigmoid", "nested"]


@pytest.mark.parametrize("name", ENDS)
def test_every_end(name):
    model = _ends(name)
    logits = _logits(model)
    y = _drawn(logits, name == "sigmoid")
    scaling = TemperatureScaling().fit(model, (IMAGES, y))
    assert scaling.temperature == pytest.approx(3, rel=0.3)
    assert scaling.loss_after < scaling.loss_before
    weights = model.get_weights()
    calibrated = scaling.apply(model)
    twice = calibrated.predict(IMAGES, verbose=0)
    cooled = logits / scaling.temperature
    if name == "sigmoid":
        expected = 1 / (1 + np.exp(-cooled))
    elif name == "logits":
        expected = cooled
    else:
        expected = np.exp(cooled) / np.exp(cooled).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(twice, expected, rtol=1e-4, atol=1e-5)
    assert len(calibrated.layers) == len(model.layers)
    for one, other in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(one, other)
    again = TemperatureScaling().fit(calibrated, (IMAGES, y))
    assert again.temperature == pytest.approx(1, abs=1e-3)


def test_the_same_as_scikit_learn():
    calibration = pytest.importorskip("sklearn.calibration")
    if not hasattr(calibration, "_TemperatureScaling"):
        pytest.skip("this scikit-learn has no temperature scaling")
    model = _ends("dense")
    logits = _logits(model)
    y = _drawn(logits)
    found = TemperatureScaling().fit(model, (IMAGES, y))
    reference = calibration._TemperatureScaling().fit(logits, y)
    assert found.temperature == pytest.approx(1 / reference.beta_, rel=1e-3)
    grid = np.exp(np.linspace(-1, 3, 2001))
    losses = [
        np.mean(np.log(np.exp(logits / t).sum(1)) - logits[np.arange(300), y] / t) for t in grid
    ]
    assert found.temperature == pytest.approx(grid[np.argmin(losses)], rel=3e-3)


def test_an_ensemble_has_no_one_layer_to_divide():
    joined = kd.models.ensemble([_ends("dense"), _ends("apart")])
    scores = joined.predict(IMAGES, verbose=0).astype(float)
    y = _drawn(np.log(scores))
    scaling = TemperatureScaling().fit(joined, (IMAGES, y))
    found = scaling.apply(joined).predict(IMAGES, verbose=0)
    expected = scores ** (1 / scaling.temperature)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_labels_may_be_missing_or_one_hot():
    model = _ends("sigmoid")
    y = _drawn(_logits(model), sigmoid=True).astype(float)
    whole = TemperatureScaling().fit(model, (IMAGES[:200], y[:200])).temperature
    unknown = np.where(np.arange(300)[:, None] < 200, y, np.nan)
    assert TemperatureScaling().fit(model, (IMAGES, unknown)).temperature == pytest.approx(whole)
    model = _ends("dense")
    y = _drawn(_logits(model))
    one_hot = keras.utils.to_categorical(y, 3)
    assert (
        TemperatureScaling().fit(model, (IMAGES, one_hot)).temperature
        == TemperatureScaling().fit(model, (IMAGES, y)).temperature
    )


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_the_file_is_calibrated_and_has_no_operator_more(tmp_path, quantization):
    model = _ends("dense")
    y = _drawn(_logits(model))
    calibrated = TemperatureScaling().fit(model, (IMAGES, y)).apply(model)
    names, operators, scores = ["a", "b", "c"], [], []
    for number, one in enumerate((model, calibrated)):
        path = tmp_path / f"{number}.tflite"
        kd.export.to_tflite(
            one, path, quantization=quantization, labels=names,
            calibration=IMAGES if quantization == "int8" else None,
            preprocessing=kd.data.Normalization.identity(), rgb=False,
        )  # fmt: skip
        operators.append(kd.export.inspect(path).operators)
        with kd.edge.ImageClassifier(path) as classifier:
            scores.append(classifier.scores(IMAGES[:50]))
    assert operators[0] == operators[1]
    tolerance = 1e-5 if quantization == "float32" else 0.06
    expected = calibrated.predict(IMAGES[:50], verbose=0)
    np.testing.assert_allclose(scores[1], expected, atol=tolerance)
    assert np.abs(scores[0] - scores[1]).max() > 0.1


@pytest.mark.parametrize(
    ("make", "y", "message"),
    [
        (lambda: 3, np.zeros(300), "model must be"),
        (
            lambda: keras.Model(i := keras.Input((6, 5, 1)), L.ReLU()(i)),
            np.zeros(300),
            "one output",
        ),
        (lambda: _ends("dense"), np.full(300, 3), r"0\.\.2"),
        (lambda: _ends("dense"), None, "must have labels"),
        (lambda: _ends("sigmoid"), np.zeros(300), r"\(300, 3\) of 0 and 1"),
        (lambda: _tanh(), np.zeros(300), "'tanh'"),
    ],
)
def test_what_cannot_be_scaled(make, y, message):
    data = IMAGES if y is None else (IMAGES, y)
    with pytest.raises((ValueError, TypeError), match=message):
        TemperatureScaling().fit(make(), data)


def _tanh():
    inputs = keras.Input((6, 5, 1))
    return keras.Model(inputs, L.Dense(3, activation="tanh")(L.Flatten()(inputs)))


def test_models_that_simulate_integers_are_refused():
    aware = kd.quantize.quantization_aware(_ends("dense"))
    with pytest.raises(ValueError, match="simulates integers"):
        TemperatureScaling().apply(aware)
