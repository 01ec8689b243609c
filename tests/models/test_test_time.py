"""Test-time augmentation beside a loop over views, in the file, and what it costs."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_dlcourse as kd
from keras_dlcourse.models import TestTimeAugmentation

L = keras.layers
X = np.random.default_rng(0).normal(size=(23, 8, 8, 2)).astype("float32")
VIEWS = ["identity", "flip", ("shift", 1, -1), "rotate_90", ("zoom", 1.25)]


def classifier(end="softmax", classes=3, batch_norm=False):
    inputs = keras.Input((8, 8, 2))
    x = L.Conv2D(4, 3, strides=2, activation="relu")(inputs)
    x = L.BatchNormalization()(x) if batch_norm else x
    model = keras.Model(inputs, L.Dense(classes, end)(L.Flatten()(x)), name="small")
    random = np.random.default_rng(5)
    for weight in model.weights:
        value = 0.4 * random.normal(size=weight.shape)
        weight.assign(np.abs(value) + 0.5 if "var" in weight.path else value)
    return model


@pytest.fixture(scope="module", params=["softmax", "sigmoid"])
def model(request):
    return classifier(request.param)


def _each(model, views=VIEWS):
    """The answers to each view, one call a view: `(views, n, classes)`."""
    seen = keras.ops.convert_to_numpy(kd.layers.ImageViews(views)(X))
    return np.stack(
        [model.predict(seen[:, number], verbose=0) for number in range(len(views))]
    ).astype(float)


def _mean(each, mean, end):
    if mean == "arithmetic":
        return each.mean(axis=0)
    yes = np.exp(np.log(each).mean(axis=0))
    no = np.exp(np.log1p(-each).mean(axis=0)) if end == "sigmoid" else None
    return yes / (yes + no if no is not None else yes.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_the_mean_of_a_loop(model, mean):
    end = model.layers[-1].activation.__name__
    tta = TestTimeAugmentation(model, VIEWS, mean)
    expected = _mean(_each(model), mean, end)
    found = tta.predict(X, batch_size=8)
    np.testing.assert_allclose(found.scores, expected, rtol=1e-3, atol=1e-5)
    assert found.asked.all() and found.calls == 5
    first = model.predict(X, verbose=0)
    sure = first.max(axis=1) if end == "softmax" else np.maximum(first, 1 - first).min(axis=1)
    below = float(np.median(sure))
    part = tta.predict(X, below=below, batch_size=4)
    np.testing.assert_array_equal(part.asked, sure < below)
    expected = np.where(part.asked[:, None], expected, first)
    np.testing.assert_allclose(part.scores, expected, rtol=1e-3, atol=1e-5)
    assert part.calls == pytest.approx(1 + 4 * part.asked.mean())
    assert str(part).startswith("11 of 23 images rerun (48%), 2.91 model calls")
    none = tta.predict(X, below=0)
    np.testing.assert_allclose(none.scores, first, rtol=1e-5)
    assert none.calls == 1


def test_one_call_of_the_network_on_a_stacked_batch(monkeypatch):
    model = classifier()
    tta = TestTimeAugmentation(model, VIEWS)
    shapes = []
    layer = model.layers[1]
    call = layer.call
    object.__setattr__(layer, "call", lambda x: shapes.append(tuple(x.shape)) or call(x))
    tta.augmented(X[:3])
    assert shapes == [(15, 8, 8, 2)]


def test_without_the_image_itself():
    model = classifier()
    views = ["flip", "flip_vertical"]
    tta = TestTimeAugmentation(model, views)
    expected = _each(model, views).mean(axis=0)
    np.testing.assert_allclose(tta.predict(X).scores, expected, rtol=1e-4)
    again = tta.predict(X, below=1.0)
    asked = again.asked[:, None]
    first = model.predict(X, verbose=0)
    np.testing.assert_allclose(again.scores, np.where(asked, expected, first), rtol=1e-4)
    assert again.calls == pytest.approx(1 + 2 * again.asked.mean())


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_gain_beside_its_own_predictions(model, mean):
    end = model.layers[-1].activation.__name__
    tta = TestTimeAugmentation(model, VIEWS, mean)
    random = np.random.default_rng(2)
    truth = random.integers(0, 2, (23, 3)) if end == "sigmoid" else random.integers(0, 3, 23)
    gain = tta.gain((X, truth), below=(0.7,))
    assert gain.below == (0.0, 0.7, 1.0) and gain.images == 23

    def right(scores):
        if end == "sigmoid":
            return ((scores > 0.5) == truth).all(axis=1)
        return scores.argmax(axis=1) == truth

    alone = right(tta.predict(X, below=0).scores)
    for number, found in enumerate((tta.predict(X, below=0), tta.predict(X, below=0.7))):
        now = right(found.scores)
        assert gain.accuracies[number] == pytest.approx(now.mean())
        assert gain.calls[number] == pytest.approx(found.calls)
        assert (gain.mended[number], gain.spoiled[number]) == (
            (now & ~alone).sum(),
            (alone & ~now).sum(),
        )
    assert gain.accuracies[2] == pytest.approx(right(tta.predict(X).scores).mean())
    assert gain.asked[2] == 1 and gain.calls[2] == 5
    lines = str(gain).splitlines()
    assert lines[0] == "23 images" and "none" in lines[3] and "below 0.7" in lines[4]


def test_labels_may_be_one_hot():
    tta = TestTimeAugmentation(classifier())
    y = np.arange(23) % 3
    assert tta.gain((X, y)).accuracies == tta.gain((X, np.eye(3)[y])).accuracies


def test_an_ensemble():
    joined = kd.models.ensemble([classifier(), classifier(batch_norm=True)])
    found = TestTimeAugmentation(joined).predict(X)
    expected = _each(joined, ["identity", "flip"]).mean(axis=0)
    np.testing.assert_allclose(found.scores, expected, rtol=1e-4)


def test_a_pipeline_normalises():
    images = np.random.default_rng(1).integers(0, 256, (5, 8, 8, 2)).astype("uint8")
    data = kd.data.pipeline(images, normalization=kd.data.Normalization(128, 64))
    tta = TestTimeAugmentation(classifier())
    expected = tta.predict(kd.data.Normalization(128, 64)(images)).scores
    np.testing.assert_allclose(tta.predict(data).scores, expected, rtol=1e-5)


def test_a_saved_model_answers_alike(tmp_path):
    tta = TestTimeAugmentation(classifier(), VIEWS, "geometric")
    tta.augmented.save(tmp_path / "seen.keras")
    again = kd.load(tmp_path / "seen.keras")
    np.testing.assert_allclose(
        again.predict(X, verbose=0), tta.predict(X).scores, rtol=1e-5, atol=1e-7
    )


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="export is on TensorFlow")
@pytest.mark.parametrize(
    ("quantization", "mean", "tolerance"),
    [("float32", "geometric", 1e-5), ("int8", "arithmetic", 0.015)],
)
def test_one_file_answers_alike(tmp_path, quantization, mean, tolerance):
    model = classifier(batch_norm=True)
    views = [*VIEWS, "flip_vertical", "rotate_180", "rotate_270", ("crop", 0.75, 1.0, 0.0)]
    tta = TestTimeAugmentation(model, views, mean)
    path, many = tmp_path / "seen.tflite", np.tile(X, (5, 1, 1, 1))
    kd.export.to_tflite(
        tta.augmented, path, quantization=quantization,
        calibration=many if quantization == "int8" else None,
    )  # fmt: skip
    info = kd.export.inspect(path)
    assert not [name for name in info.operators if "Flex" in str(name)]
    verified = kd.export.verify(tta.augmented, path, X)
    assert verified.max_error < tolerance < np.ptp(tta.predict(X).scores, axis=0).min() / 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": 3}, "model must be"),
        ({"model": keras.Sequential([keras.Input((4,)), L.Dense(2)])}, "input of images"),
        ({"model": classifier("linear")}, "softmax or sigmoid.*'linear'"),
        ({"model": classifier("tanh")}, "'tanh'"),
        ({"transforms": ["identity"]}, "at least two views"),
        ({"transforms": ["flop", "identity"]}, "flop"),
        ({"mean": "median"}, "mean must be.*'median'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        TestTimeAugmentation(**{"model": classifier(), **arguments})


def test_bad_data():
    tta = TestTimeAugmentation(classifier())
    with pytest.raises(ValueError, match="below.*1.5"):
        tta.predict(X, below=1.5)
    with pytest.raises(ValueError, match="must have labels"):
        tta.gain(X)
    with pytest.raises(ValueError, match=r"0\.\.2"):
        tta.gain((X, np.full(23, 3)))
    with pytest.raises(ValueError, match=r"0 and 1, of shape \(23, 3\)"):
        TestTimeAugmentation(classifier("sigmoid")).gain((X, np.zeros(23)))
