"""Arguments of the MobileNets: widths, heads, recorded descriptions, weights from files, errors."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_dlcourse as kd
from keras_dlcourse.data import Normalization
from keras_dlcourse.models._shared.parts import limit_strides, scale_channels
from keras_dlcourse.models.classification.mobilenet_v2 import round_channels

FAMILIES = [kd.models.MobileNet, kd.models.MobileNetV2]
SMALL = {"input_shape": (28, 28, 1), "alpha": 0.1, "classes": 2}


def _answers(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Return what a model answers in inference."""
    return keras.ops.convert_to_numpy(model(images, training=False))


@pytest.fixture(params=FAMILIES, ids=lambda family: family.__name__)
def family(request: pytest.FixtureRequest):
    return request.param


@given(channels=st.floats(0.01, 5000))
def test_rounded_channels_are_near_and_never_zero(channels) -> None:
    rounded = round_channels(channels)
    assert rounded >= 8 and rounded % 8 == 0
    assert rounded >= 0.9 * channels
    assert abs(rounded - channels) <= 8 or channels < 8


@given(channels=st.integers(1, 2000), alpha=st.floats(1e-6, 4))
def test_scaled_channels_are_never_zero(channels, alpha) -> None:
    assert scale_channels(channels, alpha) == max(1, int(channels * alpha))


@given(
    strides=st.lists(st.sampled_from([1, 2]), min_size=1, max_size=12),
    output_stride=st.sampled_from([8, 16, 32]),
)
def test_limited_strides_reach_the_output_stride_and_no_more(strides, output_stride) -> None:
    limited = limit_strides(strides, output_stride)
    assert len(limited) == len(strides)
    assert np.prod(limited) == min(np.prod(strides), output_stride)
    assert all(new in (1, old) for new, old in zip(limited, strides, strict=True))


def test_the_narrowest_network_still_works(family) -> None:
    model = family((28, 28, 1), alpha=1e-3, classes=2)
    assert model(np.zeros((1, 28, 28, 1))).shape == (1, 2)


def test_names_of_classes_and_preprocessing_are_recorded(family, tmp_path: Path) -> None:
    pixels = Normalization(73.0, 90.0)
    arguments = {**SMALL, "classes": np.array(["shirt", "shoe"]), "preprocessing": pixels}
    model = family(**arguments)
    model.save(tmp_path / "model.keras")
    for found in (model, keras.models.load_model(tmp_path / "model.keras")):
        assert kd.layers.describe(found).class_names == ("shirt", "shoe")
        assert kd.layers.describe(found).normalization == pixels
    assert model.output_shape == (None, 2)
    assert kd.layers.describe(family(**SMALL)) is None


def test_preprocessing_is_recorded_and_not_applied(family) -> None:
    plain, recorded = family(**SMALL), family(**SMALL, preprocessing=Normalization(100, 50))
    recorded.set_weights(plain.get_weights())
    images = np.random.default_rng(0).normal(size=(2, 28, 28, 1)).astype("float32")
    np.testing.assert_array_equal(_answers(recorded, images), _answers(plain, images))


def test_logits_become_the_probabilities(family) -> None:
    logits = family(**SMALL, classifier_activation=None)
    probabilities = family(**SMALL)
    probabilities.set_weights(logits.get_weights())
    images = np.random.default_rng(0).normal(size=(2, 28, 28, 1)).astype("float32")
    exponentials = np.exp(_answers(logits, images))
    np.testing.assert_allclose(
        _answers(probabilities, images),
        exponentials / exponentials.sum(axis=1, keepdims=True),
        rtol=1e-5,
    )


def test_dropout_is_in_the_classifier_only_when_wanted(family) -> None:
    def rates(**arguments) -> list[float]:
        layers = family(**SMALL, **arguments).layers
        return [layer.rate for layer in layers if isinstance(layer, keras.layers.Dropout)]

    assert rates(dropout=0.0) == []
    assert rates(dropout=0.4) == [0.4]
    # As in keras.applications.
    assert rates() == ([0.001] if family is kd.models.MobileNet else [])


def test_bn_momentum_reaches_every_normalization(family) -> None:
    model = family(**SMALL, bn_momentum=0.77)
    momenta = {
        layer.momentum
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    }
    assert momenta == {0.77}


def test_weights_from_a_file(family, tmp_path: Path) -> None:
    path = tmp_path / "trained.weights.h5"
    trained = family(**SMALL)
    trained.save_weights(path)
    again = family(**SMALL, weights=path)
    for one, other in zip(trained.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="trained.weights.h5 does not fit this .*same alpha"):
        family(**{**SMALL, "alpha": 0.5}, weights=str(path))
    path.write_bytes(b"\x89PNG")
    with pytest.raises(ValueError, match="trained.weights.h5 does not fit"):
        family(**SMALL, weights=path)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"input_shape": (27, 28, 1)}, ValueError, r"at least 28 pixels.*\(27, 28, 1\)"),
        ({"input_shape": (28, 28)}, ValueError, r"\(height, width, channels\).*\(28, 28\)"),
        ({"input_shape": 28}, TypeError, r"\(height, width, channels\).*28"),
        ({"input_shape": (28.0, 28.0, 1)}, TypeError, "at least 28"),
        ({"input_shape": (28, 28, 2)}, ValueError, "1 channel.*or 3 channels"),
        ({"input_shape": (28, 28, None)}, ValueError, "1 channel.*or 3 channels"),
        ({"alpha": 0}, ValueError, "alpha must be a finite number above 0. Received: 0"),
        ({"alpha": float("nan")}, ValueError, "alpha.*nan"),
        ({"alpha": "1"}, TypeError, "alpha.*'1'"),
        ({"classes": 0}, ValueError, "classes.*at least 1. Received: 0"),
        ({"classes": 2.5}, TypeError, "classes.*2.5"),
        ({"classes": True}, TypeError, "classes.*True"),
        ({"classes": None}, TypeError, "classes must be a number, or a sequence of names.*None"),
        ({"classes": "cat"}, TypeError, "classes must be a number, or a sequence of names.*'cat'"),
        ({"classes": ["a", "a"]}, ValueError, "more than once: a"),
        ({"classes": [1, 2]}, TypeError, "sequence of strings"),
        ({"classes": ["a"], "include_top": False}, ValueError, "no classes to name"),
        ({"pooling": "mean", "include_top": False}, ValueError, "pooling.*'mean'"),
        ({"pooling": "avg"}, ValueError, "pooling must be None if include_top=True"),
        ({"classifier_activation": "soft"}, ValueError, "classifier_activation.*'soft'"),
        (
            {"dropout": 1.0},
            ValueError,
            "dropout must be a number of at least 0 and below 1. Received: 1.0",
        ),
        ({"dropout": -0.1}, ValueError, "dropout.*-0.1"),
        ({"output_stride": 4}, ValueError, "output_stride must be one of 8, 16, 32, None.*4"),
        ({"output_stride": "8"}, TypeError, "output_stride.*'8'"),
        ({"bn_momentum": 1}, ValueError, "bn_momentum.*1"),
        ({"preprocessing": 127.5}, TypeError, "preprocessing must be.*127.5"),
        ({"preprocessing": Normalization([1, 2, 3], 1)}, ValueError, "3 values.*1 channel"),
        ({"weights": "imagnet"}, ValueError, "'imagenet', or the path.*'imagnet'"),
        ({"weights": 3}, TypeError, "weights must be None.*3"),
        ({"weights": "nowhere.weights.h5"}, ValueError, "file nowhere.weights.h5 does not exist"),
        ({"weights": "whole.keras"}, ValueError, r"load_model\('whole.keras'\)"),
    ],
)
def test_bad_arguments_are_refused(family, arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        family(**{**SMALL, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_shape": (96, 96, 1)}, "RGB"),
        ({"input_shape": (128, 160, 3)}, "must be square, .*128, 160, 192 or 224 pixels"),
        ({"input_shape": (100, 100, 3)}, r"\(None, None, 3\)"),
        ({"alpha": 0.4}, "0.75.*Received: alpha=0.4"),
        ({"classes": 10}, "must be 1000.*classes=10.*include_top=False"),
        ({"classifier_activation": "sigmoid"}, "softmax.*'sigmoid'"),
        ({"preprocessing": Normalization(0, 255)}, "127.5.*255"),
    ],
)
def test_what_imagenet_weights_do_not_fit_is_refused(family, arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        family(**{"input_shape": (160, 160, 3), "alpha": 0.5, "weights": "imagenet", **arguments})


def test_one_channel_cannot_take_the_place_of_three(family) -> None:
    with pytest.raises(ValueError):
        family(**SMALL)(np.zeros((1, 28, 28, 3)))


def test_weights_from_a_file_do_not_depend_on_names_or_strides(family, tmp_path: Path) -> None:
    """A description and other strides add and move no weights."""
    path = tmp_path / "plain.weights.h5"
    plain = family(**SMALL)
    plain.save_weights(path)
    named = {**SMALL, "classes": ["a", "b"], "preprocessing": Normalization(1, 2)}
    again = family(**named, output_stride=32, dropout=0.3, weights=path)
    for one, other in zip(plain.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_of_another_architecture_are_refused_whole(family, tmp_path: Path) -> None:
    """Never a model that is half loaded and half random."""
    path = tmp_path / "backbone.weights.h5"
    family(**{**SMALL, "include_top": False}).save_weights(path)
    with pytest.raises(ValueError, match="does not fit"):
        family(**SMALL, weights=path)
