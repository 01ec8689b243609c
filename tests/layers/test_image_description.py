from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from keras_dlcourse.data import Normalization
from keras_dlcourse.layers import ImageDescription, describe, record_thresholds

PIXELS = Normalization(127.5, 127.5)


def _model(*layers: keras.layers.Layer, name: str | None = None) -> keras.Model:
    """Chain layers on a small image."""
    inputs = keras.Input((8, 8, 1))
    outputs = inputs
    for layer in layers:
        outputs = layer(outputs)
    return keras.Model(inputs, outputs, name=name)


def test_changes_no_number() -> None:
    images = np.random.default_rng(0).normal(size=(2, 3, 3, 1)).astype("float32")
    outputs = ImageDescription(PIXELS, ["a", "b"])(images)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(outputs), images)


def test_is_found_after_a_round_trip_through_a_file(tmp_path: Path) -> None:
    model = _model(ImageDescription(PIXELS, ["cat", "dög"]), keras.layers.Flatten())
    model.save(tmp_path / "model.keras")
    found = describe(keras.models.load_model(tmp_path / "model.keras"))
    assert found.normalization == PIXELS
    assert found.class_names == ("cat", "dög")


def test_is_found_in_nested_models(tmp_path: Path) -> None:
    backbone = _model(ImageDescription(PIXELS), keras.layers.Conv2D(2, 3))
    middle = keras.Sequential([keras.Input((8, 8, 1)), backbone, keras.layers.Flatten()])
    outer = _model(middle, keras.layers.Dense(2))
    outer.save(tmp_path / "outer.keras")
    for model in (outer, keras.models.load_model(tmp_path / "outer.keras")):
        assert describe(model).normalization == PIXELS
        assert describe(model).class_names is None


def test_is_found_in_a_wrapper_and_in_a_subclassed_model() -> None:
    frames = keras.Input((4, 8, 8, 1))
    each = keras.layers.TimeDistributed(_model(ImageDescription(PIXELS), keras.layers.Flatten()))
    assert describe(keras.Model(frames, each(frames))).normalization == PIXELS

    class Subclassed(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.description = ImageDescription(class_names=["a"])

    assert describe(Subclassed()).class_names == ("a",)
    assert describe(ImageDescription(PIXELS)).normalization == PIXELS


def test_the_first_record_of_each_kind_counts() -> None:
    """A new classifier around a pretrained backbone names its own classes."""
    backbone = _model(ImageDescription(PIXELS, ["old", "names"]), keras.layers.Conv2D(2, 3))
    outer = _model(ImageDescription(class_names=["new"]), backbone)
    found = describe(outer)
    assert (found.normalization, found.class_names) == (PIXELS, ("new",))


@pytest.mark.parametrize(
    "rescaling", [keras.layers.Rescaling(1 / 255), keras.layers.Normalization(mean=0, variance=1)]
)
def test_a_normalization_behind_another_is_not_that_of_the_input(rescaling) -> None:
    backbone = _model(ImageDescription(PIXELS, ["a", "b"]), keras.layers.Flatten())
    found = describe(_model(rescaling, backbone))
    assert (found.normalization, found.class_names) == (None, ("a", "b"))


def test_recorded_thresholds_are_saved_and_belong_to_their_classes(tmp_path: Path) -> None:
    backbone = _model(ImageDescription(PIXELS, ["a", "b"]), keras.layers.Flatten())
    record_thresholds(backbone, np.array([0.25, 0.75], "float32"))
    backbone.save(tmp_path / "model.keras")
    found = describe(keras.models.load_model(tmp_path / "model.keras"))
    assert (found.normalization, found.score_thresholds) == (PIXELS, (0.25, 0.75))
    outer = _model(ImageDescription(class_names=["new"]), backbone)
    assert describe(outer).score_thresholds is None
    record_thresholds(outer, [0.5])
    assert describe(outer).score_thresholds == (0.5,)
    assert describe(outer).normalization == PIXELS
    assert describe(backbone).score_thresholds == (0.25, 0.75)


def test_thresholds_need_names_of_classes() -> None:
    for model in (_model(keras.layers.Flatten()), _model(ImageDescription(PIXELS))):
        with pytest.raises(ValueError, match="model must record the names.*Received: 'functional"):
            record_thresholds(model, [0.5])


def test_none_where_nothing_is_recorded() -> None:
    assert describe(_model(keras.layers.Flatten())) is None


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"normalization": 127.5}, TypeError, "normalization must be.*127.5"),
        ({"normalization": {"mean": [1.0]}}, ValueError, "'std'"),
        ({"class_names": "cat"}, TypeError, "sequence of strings.*'cat'"),
        ({"class_names": [1, 2]}, TypeError, r"sequence of strings.*\[1, 2\]"),
        ({"class_names": []}, ValueError, r"at least one name.*Received: \[\]"),
        ({"class_names": ["cat", " "]}, ValueError, r"be empty. Received: \['cat', ''\]"),
        ({"class_names": ["cat", "dog", "cat"]}, ValueError, "more than once: cat"),
        ({"score_thresholds": [0.5]}, ValueError, "only be given with class_names"),
        ({"class_names": ["a", "b"], "score_thresholds": 0.5}, ValueError, "be 2 numbers.*0.5"),
        ({"class_names": ["a"], "score_thresholds": [1.5]}, ValueError, r"from 0 to 1.*\[1.5\]"),
        ({"class_names": ["a"], "score_thresholds": ["x"]}, ValueError, r"from 0 to 1.*\['x'\]"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        ImageDescription(**arguments)
