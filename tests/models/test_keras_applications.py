"""The families beside their counterparts in keras.applications, with the same random weights."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_dlcourse as kd
from keras_dlcourse.graph.weightless import weightless

# Name there, alpha, height. Published sizes are for releases.
CASES = [
    ("MobileNet", 0.5, 96),
    ("MobileNetV2", 0.35, 96),
    pytest.param("MobileNet", 1.0, 224, marks=pytest.mark.release),
    pytest.param("MobileNet", 1.0, 96, marks=pytest.mark.slow),
    pytest.param("MobileNetV2", 1.0, 224, marks=pytest.mark.release),
    pytest.param("MobileNetV2", 1.4, 96, marks=pytest.mark.release),
    # Odd sizes on the way down (100, 50, 25, 13, 7, 4): V2 pads them there as "same" does here.
    pytest.param("MobileNetV2", 0.5, 100, marks=pytest.mark.slow),
]


def _random_weights(model: keras.Model, seed: int) -> list[np.ndarray]:
    """Return random weights and statistics that neither die out nor blow up on the way."""
    random = np.random.default_rng(seed)
    values = []
    for weight in model.weights:
        shape = tuple(weight.shape)
        if weight.name in ("gamma", "moving_variance"):
            values.append(random.uniform(0.5, 1.5, shape))
        elif len(shape) <= 1:
            values.append(random.normal(0, 0.2, shape))
        else:
            fan_in = np.prod(shape[:2] if shape[-1] == 1 else shape[:-1])
            values.append(random.normal(0, np.sqrt(2 / fan_in), shape))
    return values


def _networks(name: str, alpha: float, size: int) -> tuple[keras.Model, keras.Model]:
    """Return the official model and ours, both ending in logits."""
    arguments = {
        "input_shape": (size, size, 3),
        "alpha": alpha,
        "classes": 11,
        "weights": None,
        "classifier_activation": None,
    }
    theirs = getattr(keras.applications, name)(**arguments)
    return theirs, getattr(kd.models, name)(**arguments, output_stride=32)


def _pair(name: str, alpha: float, size: int) -> tuple[keras.Model, keras.Model]:
    """Return them with the same weights."""
    theirs, ours = _networks(name, alpha, size)
    theirs.set_weights(_random_weights(theirs, seed=1))
    ours.set_weights(theirs.get_weights())
    return theirs, ours


# Name there, what makes ours of that form, height.
DEEPER = [
    ("VGG16", {}, 32),
    ("ResNet50", {"use_bias": True}, 64),
    ("DenseNet121", {}, 64),
    ("MobileNetV3Small", {}, 64),
    ("EfficientNetB0", {}, 64),
    pytest.param("MobileNetV3Small", {"minimalistic": True}, 64, marks=pytest.mark.slow),
    pytest.param("MobileNetV3Large", {}, 96, marks=pytest.mark.release),
    pytest.param("EfficientNetB2", {}, 96, marks=pytest.mark.release),
    pytest.param("VGG19", {}, 64, marks=pytest.mark.release),
    pytest.param("ResNet101", {"use_bias": True}, 96, marks=pytest.mark.release),
    pytest.param("DenseNet201", {}, 96, marks=pytest.mark.release),
]


# Networks of a hundred layers, run operation by operation: minutes on other backends.
on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="it is about weights, not backends"
)


@on_tensorflow
@pytest.mark.parametrize(("name", "form", "size"), DEEPER)
def test_weights_of_the_official_deep_networks_fit(name, form, size) -> None:
    shape = (size, size, 3)
    official = {key: value for key, value in form.items() if key == "minimalistic"}
    if "V3" in name:
        official["include_preprocessing"] = False
    theirs = getattr(keras.applications, name)(
        input_shape=shape, classes=11, weights=None, classifier_activation=None, **official
    )
    ours = getattr(kd.models, name)(
        shape, classes=11, classifier_activation=None, output_stride=32, **form
    )
    theirs.set_weights(_random_weights(theirs, seed=1))
    images = np.random.default_rng(2).normal(size=(2, *shape)).astype("float32")
    weights, pixels = theirs.get_weights(), images
    if "Efficient" in name:  # begins with a normalization of its own, which we leave to the data
        theirs.set_weights([np.zeros(3), np.ones(3), np.array(0), *weights[3:]])
        weights, pixels = weights[3:], images * 255
    ours.set_weights(weights)
    expected = keras.ops.convert_to_numpy(theirs(pixels, training=False))
    logits = keras.ops.convert_to_numpy(ours(images, training=False))
    assert np.abs(expected[0] - expected[1]).max() > 1e-3
    assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()


@on_tensorflow
@pytest.mark.parametrize(
    ("name", "is_bgr"), [("VGG16", True), ("ResNet50", True), ("DenseNet121", False)]
)
def test_pixels_go_through_what_the_official_ones_went_through(name, is_bgr, monkeypatch) -> None:
    """Keras's preprocessing and its network, and our record and our network, agree."""
    original = getattr(keras.applications, name)
    made = {}

    def official(**arguments):
        made["model"] = original(**{**arguments, "weights": None})
        made["model"].set_weights(_random_weights(made["model"], seed=3))
        return made["model"]

    monkeypatch.setattr(keras.applications, name, official)
    ours = getattr(kd.models, name)(
        (64, 64, 3), weights="imagenet", include_top=False, pooling="avg", output_stride=32
    )
    theirs = original(input_shape=(64, 64, 3), weights=None, include_top=False, pooling="avg")
    theirs.set_weights(made["model"].get_weights())
    module = {"VGG16": "vgg16", "ResNet50": "resnet50", "DenseNet121": "densenet"}[name]
    preprocess = getattr(keras.applications, module).preprocess_input
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype("float32")
    expected = theirs(preprocess(pixels.copy()), training=False)
    found = ours(kd.layers.describe(ours).normalization(pixels), training=False)
    expected, found = map(keras.ops.convert_to_numpy, (expected, found))
    assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max()
    first = next(weight for weight in ours.weights if len(weight.shape) == 4)
    kernels = [keras.ops.convert_to_numpy(first), made["model"].get_weights()[0]]
    assert np.array_equal(kernels[0], kernels[1]) != is_bgr


def _with_last_feature_map(model: keras.Model) -> keras.Model:
    """Return a model that gives its last feature map as well as its output."""
    pooling = next(layer for layer in model.layers if "Pooling" in type(layer).__name__)
    return keras.Model(model.input, [pooling.input, model.output])


@pytest.mark.parametrize(("name", "alpha", "size"), CASES)
def test_logits_and_last_feature_map_agree(name, alpha, size) -> None:
    theirs, ours = _pair(name, alpha, size)
    images = np.random.default_rng(2).normal(size=(2, size, size, 3)).astype("float32")
    expected_maps, expected = map(
        keras.ops.convert_to_numpy, _with_last_feature_map(theirs)(images, training=False)
    )
    maps, logits = map(
        keras.ops.convert_to_numpy, _with_last_feature_map(ours)(images, training=False)
    )
    assert expected.std() > 0.05, "a network that answers a constant proves nothing"
    assert np.abs(expected[0] - expected[1]).max() > 1e-3
    assert np.abs(maps - expected_maps).max() <= 1e-4 * np.abs(expected_maps).max()
    assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()


# One row an alpha, for ours and theirs at 96 pixels; widths round in different places.
ALPHAS = [
    *(("MobileNet", alpha) for alpha in (0.25, 0.35, 0.75, 1.0)),
    *(("MobileNetV2", alpha) for alpha in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4, 0.1, 0.83)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "alpha"), ALPHAS)
def test_every_weight_has_the_shape_it_has_there(name, alpha) -> None:
    with weightless():
        theirs, ours = _networks(name, alpha, 96)
    assert [tuple(weight.shape) for weight in ours.weights] == [
        tuple(weight.shape) for weight in theirs.weights
    ]


@pytest.mark.parametrize("include_top", [True, False])
def test_imagenet_weights_are_those_of_the_official_model(monkeypatch, include_top) -> None:
    """The download itself is replaced: this test is offline."""
    asked, original = {}, keras.applications.MobileNetV2

    def official(**arguments):
        asked.update(arguments)
        model = original(**{**arguments, "weights": None})
        model.set_weights(_random_weights(model, seed=3))
        asked["weights_there"] = model.get_weights()
        return model

    monkeypatch.setattr(keras.applications, "MobileNetV2", official)
    model = kd.models.MobileNetV2(
        (None, None, 3) if not include_top else (96, 96, 3),
        alpha=0.35,
        weights="imagenet",
        include_top=include_top,
    )
    assert asked["weights"] == "imagenet"
    assert asked["input_shape"] == ((96, 96, 3) if include_top else (224, 224, 3))
    assert (asked["alpha"], asked["include_top"]) == (0.35, include_top)
    for ours, theirs in zip(model.get_weights(), asked["weights_there"], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert kd.layers.describe(model).normalization == kd.data.Normalization(127.5, 127.5)


def test_no_download_unless_asked_for(monkeypatch) -> None:
    def refused(**arguments):
        raise AssertionError("fetched without being asked")

    monkeypatch.setattr(keras.applications, "MobileNetV2", refused)
    kd.models.MobileNetV2((28, 28, 1), alpha=0.1, classes=2)


def test_a_failed_download_says_what_to_do(monkeypatch) -> None:
    def offline(**arguments):
        raise Exception("URL fetch failure on https://…: None -- [Errno -2]")  # as Keras does

    monkeypatch.setattr(keras.applications, "MobileNet", offline)
    with pytest.raises(OSError, match=r"MobileNet \(alpha 0.25, size 128\).*URL fetch.*Connect to"):
        kd.models.MobileNet((128, 128, 3), alpha=0.25, weights="imagenet")
