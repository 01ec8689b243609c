"""What every builder of models that predict the class of each pixel keeps to."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from cases.kinds import SegmenterCase
from cases.models import SEGMENTERS
from contract_kit import (
    answer_of,
    answers,
    images,
    randomise,
    relative_error,
    run_tflite,
    tflite,
    together,
)

import keras_dlcourse as kd

CASES = [case for case in SEGMENTERS if keras.backend.backend() == "tensorflow" or case.elsewhere]
# The other forms of a builder share what these check.
builders = pytest.mark.parametrize(
    "case", [case for case in CASES if not case.suffix], ids=lambda case: case.id
)
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


def _small(case: SegmenterCase, **changes: Any) -> keras.Model:
    own = {} if case.backbone is None else {"backbone": case.backbone()}
    return case.builder(**{**case.small, **own, **changes})


@pytest.fixture(scope="module")
def built() -> dict[str, keras.Model]:
    """The small model of each case with random weights; tests do not change them."""
    models = {case.id: _small(case, name=case.id) for case in CASES}
    for model in models.values():
        randomise(model)
    return models


@pytest.fixture
def model(case: SegmenterCase, built: dict[str, keras.Model]) -> keras.Model:
    return built[case.id]


@every_case
def test_probabilities_of_each_pixel(case: SegmenterCase, model: keras.Model) -> None:
    height, width, _ = case.small["input_shape"]
    raw = _small(case, activation=None)
    raw.set_weights(model.get_weights())
    assert model.output_shape == (None, height - case.lost, width - case.lost, 3)
    given = images(case.small["input_shape"], 2)
    scores, logits = (answers(each, given) for each in (model, raw))
    np.testing.assert_allclose(scores.sum(axis=-1), 1, rtol=1e-5)
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert logits.std() > 1e-3, "all pixels look alike"


@every_case
def test_padding_is_zeros_that_are_cropped(case: SegmenterCase, model: keras.Model) -> None:
    if case.multiple == 1:
        pytest.skip("the image is not padded")
    height, width, channels = case.small["input_shape"]
    rows, columns = (size + -size % case.multiple for size in (height, width))
    assert (rows, columns) != (height, width)
    large = _small(case, input_shape=(rows, columns, channels))
    large.set_weights(model.get_weights())
    given = images((height, width, channels), 1)
    padded = np.zeros((1, rows, columns, channels), "float32")
    padded[:, :height, :width] = given
    expected = answers(large, padded)[:, :height, :width]
    np.testing.assert_allclose(answers(model, given), expected, rtol=1e-4, atol=1e-6)
    open_model = _small(case, input_shape=(None, None, channels))
    assert open_model.output_shape == (None, None, None, 3)
    open_model.set_weights(model.get_weights())
    for here, pixels in ((given, model), (padded, large)):
        np.testing.assert_allclose(
            answers(open_model, here), answers(pixels, here), rtol=1e-4, atol=1e-6
        )


@every_case
def test_open_sizes_are_refused_where_they_cannot_be(case: SegmenterCase) -> None:
    if case.has_open_size:
        pytest.skip("it takes images of any size")
    with pytest.raises(ValueError, match="input_shape must"):
        _small(case, input_shape=(None, None, 3))


@builders
def test_one_class_is_a_sigmoid(case: SegmenterCase) -> None:
    model = _small(case, classes=["object"])
    randomise(model)
    assert model.output_shape[-1] == 1
    assert model.get_layer("scores").activation is keras.activations.sigmoid
    assert kd.layers.describe(model).class_names == ("object",)


@builders
def test_what_it_says_of_itself(case: SegmenterCase) -> None:
    normalization = kd.data.Normalization((127.5,), (127.5,))
    model = _small(case, classes=["a", "b", "c"], preprocessing=normalization, name="mine")
    described = kd.layers.describe(model)
    assert described.normalization == normalization and model.name == "mine"
    assert described.class_names == ("a", "b", "c")
    assert isinstance(model.layers[-1], kd.layers.OutputDescription)
    assert model.layers[-1].kind == "segmentation"
    logits = _small(case, activation=None)
    assert type(logits.layers[-1]) is keras.layers.Activation


@builders
def test_every_trainable_weight_gets_a_gradient(case: SegmenterCase) -> None:
    model = _small(case)
    randomise(model)
    before = [keras.ops.convert_to_numpy(weight) for weight in model.weights]
    loss = kd.losses.PixelCrossentropy()
    # For one step TensorFlow would trace and optimize a graph, which takes longer.
    eagerly = keras.backend.backend() == "tensorflow"
    model.compile(keras.optimizers.SGD(1e3), loss, run_eagerly=eagerly)
    masks = np.random.default_rng(0).integers(0, 3, (4, *model.output_shape[1:3]))
    model.train_on_batch(images(case.small["input_shape"], 4), masks)
    still = [
        weight.path
        for weight, old in zip(model.weights, before, strict=True)
        if np.array_equal(keras.ops.convert_to_numpy(weight), old)
    ]
    assert not still, "moving statistics change in training, too"


@builders
def test_mixed_precision_ends_in_float32(case: SegmenterCase) -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = _small(case)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.output.dtype == "float32", "probabilities in 16 bits spoil the loss"
    assert {layer.compute_dtype for layer in model.layers[1:-2]} == {"float16"}


@builders
def test_a_saved_model_answers_the_same(
    case: SegmenterCase, model: keras.Model, tmp_path: Path
) -> None:
    model.save(tmp_path / "model.keras")
    loaded = kd.load(tmp_path / "model.keras")
    given = images(case.small["input_shape"], 1)
    np.testing.assert_array_equal(answers(loaded, given), answers(model, given))


@builders
def test_bad_arguments_are_refused_by_name(case: SegmenterCase) -> None:
    for arguments, message in (
        ({"backbone": "vgg"}, "backbone must be one of .* or a keras.Model"),
        ({"backbone": 3}, "backbone must be one of .*Received: 3"),
        ({"activation": "relu"}, "activation must be one of 'softmax', 'sigmoid', None"),
        ({"classes": 0}, "classes must be an integer of at least 1"),
        ({"alpha": 0}, "alpha must be a .*number above 0"),
        ({"dropout": 1.0}, "dropout.*below 1"),
        ({"input_shape": (40, 50)}, "input_shape must be \\(height, width, channels\\)"),
    ):
        assert set(arguments) <= set(inspect.signature(case.builder).parameters)
        with pytest.raises((ValueError, TypeError), match=message):
            _small(case, **arguments)


@pytest.fixture(scope="module")
def exported(built: dict[str, keras.Model]) -> dict[str, Any]:
    """What each model answers in a file that holds them all, and in Keras."""

    def run(ids: list[str]) -> dict[str, Any]:
        models = {name: built[name] for name in ids}
        inputs = {
            name: keras.Input(model.input_shape[1:], batch_size=1, name=f"{name}-image")
            for name, model in models.items()
        }
        outputs = {name: models[name](inputs[name]) for name in ids}
        whole = keras.Model(list(inputs.values()), outputs)
        given = {name: images(models[name].input_shape[1:], 1) for name in ids}
        pixels = {f"{name}-image": values for name, values in given.items()}
        outputs = run_tflite(tflite(whole), pixels)
        return {name: (outputs[name], answers(models[name], given[name])) for name in ids}

    return together(sorted(built), run)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the converter reads TensorFlow graphs only"
)
@every_case
def test_exports_with_builtin_operators_only(
    case: SegmenterCase, model: keras.Model, request: pytest.FixtureRequest
) -> None:
    outputs, expected = answer_of(request.getfixturevalue("exported"), case.id)
    assert relative_error(outputs, expected) < 1e-4
