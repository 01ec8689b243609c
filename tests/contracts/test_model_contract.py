"""What every family of models keeps to."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from cases.kinds import ModelCase
from cases.models import LOADED_ELSEWHERE, MODELS
from contract_kit import answers, images, randomise, relative_error, run_tflite, tflite

import keras_dlcourse as kd

every_case = pytest.mark.parametrize("case", MODELS, ids=lambda case: case.id)
# Sizes, strides and files are the same on each backend, and networks are slow there operation by
# operation. Layers are checked on each, each by itself: test_layer_contract.py.
on_other_backends_few = pytest.mark.parametrize(
    "case",
    [
        case
        for case in MODELS
        if keras.backend.backend() == "tensorflow" or case.name in LOADED_ELSEWHERE
    ],
    ids=lambda case: case.id,
)


def _small(case: ModelCase, **changes: object) -> keras.Model:
    return kd.models.build(case.name, **{**case.small, **changes})


def _features(case: ModelCase, **changes: object) -> keras.Model:
    """Build the small model without its classifier."""
    return _small(case, include_top=False, classes=1000, **changes)


@pytest.fixture(scope="module")
def built() -> dict[str, keras.Model]:
    return {}


@pytest.fixture
def model(case: ModelCase, built: dict[str, keras.Model]) -> keras.Model:
    """The small model of a case with random weights, built once: tests do not change it."""
    if case.id not in built:
        built[case.id] = _small(case)
        randomise(built[case.id])
    return built[case.id]


@pytest.fixture
def maps(case: ModelCase, built: dict[str, keras.Model]) -> keras.Model:
    """It without its classifier."""
    name = f"{case.id} features"
    if name not in built:
        built[name] = _features(case)
        randomise(built[name])
    return built[name]


@on_other_backends_few
def test_the_registry_knows_the_builder(case: ModelCase, model: keras.Model) -> None:
    assert case.name in kd.models.names()
    assert model.count_params() == case.builder(**case.small).count_params()


@on_other_backends_few
def test_probabilities_for_any_batch(case: ModelCase, model: keras.Model) -> None:
    raw = _small(case, classifier_activation=None)
    raw.set_weights(model.get_weights())
    for batch in (1, 3):
        scores, logits = (answers(each, images((28, 28, 1), batch)) for each in (model, raw))
        assert scores.shape == (batch, 3)
        np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)
        assert (scores.argmax(axis=1) == logits.argmax(axis=1)).all()
        assert len(np.unique(logits)) == logits.size, "the images are not told apart"


@on_other_backends_few
@pytest.mark.parametrize(
    ("shape", "output_stride", "expected"),
    [
        ((28, 28, 1), None, (4, 4)),  # below 48 pixels: 8
        ((47, 200, 1), None, (6, 25)),  # the smaller side counts
        ((48, 48, 3), None, (3, 3)),  # below 96 pixels: 16
        ((95, 95, 3), None, (6, 6)),
        ((96, 96, 3), None, (3, 3)),  # from there on: 32
        ((64, 32, 3), 8, (8, 4)),
        ((64, 32, 3), 16, (4, 2)),
        ((64, 32, 3), 32, (2, 1)),
    ],
)
def test_output_stride(case: ModelCase, shape, output_stride, expected) -> None:
    if case.stride < 32 or not case.rounds_up:
        pytest.skip("has strides of its own: tests/models/test_families.py")
    model = _features(case, input_shape=shape, output_stride=output_stride)
    assert model.output_shape == (None, *expected, case.features)


@on_other_backends_few
def test_strides_change_no_weights(case: ModelCase) -> None:
    if case.stride < 32:
        pytest.skip("its strides are less than the least that can be asked for")
    shape = (case.least, case.least, 1)
    coarse, fine = (_features(case, output_stride=stride, input_shape=shape) for stride in (32, 8))
    shapes = [tuple(weight.shape) for weight in coarse.weights]
    assert [tuple(weight.shape) for weight in fine.weights] == shapes
    randomise(coarse)
    fine.set_weights(coarse.get_weights())
    inputs = images(shape)
    coarse, fine = (np.mean(answers(each, inputs), axis=(1, 2)) for each in (coarse, fine))
    assert relative_error(fine, coarse) > 1e-3


@on_other_backends_few
def test_every_trainable_weight_gets_a_gradient(case: ModelCase) -> None:
    model = _small(case)
    randomise(model)
    before = [keras.ops.convert_to_numpy(weight) for weight in model.weights]
    # Far too fast to learn: a weight of 1 is to be moved by a gradient of 1e-9, too.
    # For one step TensorFlow would trace and optimize a graph, which takes longer.
    eagerly = keras.backend.backend() == "tensorflow"
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.SGD(1e3), loss, run_eagerly=eagerly)
    model.train_on_batch(images((28, 28, 1), 12), np.arange(12) % 3)
    still = [
        weight.path
        for weight, old in zip(model.weights, before, strict=True)
        if np.array_equal(keras.ops.convert_to_numpy(weight), old)
        and weight.name not in case.steady
    ]
    assert not still


@on_other_backends_few
def test_features_of_any_image_size(case: ModelCase) -> None:
    model = _features(case, input_shape=(None, None, 3))
    assert model.output_shape == (None, None, None, case.features)
    for height, width in ((case.least, 96), (case.least + 1, 97)):
        outputs = model(images((height, width, 3), 1))
        assert tuple(outputs.shape) == model.compute_output_shape((1, height, width, 3))
        if case.rounds_up:
            expected = (math.ceil(size / case.stride) for size in (height, width))
            assert tuple(outputs.shape) == (1, *expected, case.features)


@on_other_backends_few
@pytest.mark.parametrize(("pooling", "pool"), [("avg", np.mean), ("max", np.max)])
def test_pooled_features(case: ModelCase, pooling, pool, maps: keras.Model) -> None:
    pooled = _features(case, pooling=pooling)
    pooled.set_weights(maps.get_weights())
    inputs = images((28, 28, 1))
    expected = pool(answers(maps, inputs), axis=(1, 2))
    np.testing.assert_allclose(answers(pooled, inputs), expected, rtol=1e-4, atol=1e-5)


@on_other_backends_few
def test_mixed_precision_ends_in_float32(case: ModelCase) -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = _small(case)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.output.dtype == "float32", "probabilities in 16 bits spoil the loss"
    assert {layer.compute_dtype for layer in model.layers[1:-1]} == {"float16"}


@every_case
@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the converter reads TensorFlow graphs only"
)
def test_exports_with_builtin_operators_only(case: ModelCase, model: keras.Model) -> None:
    inputs = images((28, 28, 1))
    (outputs,) = run_tflite(tflite(model), {model.inputs[0].name: inputs}).values()
    assert relative_error(outputs, answers(model, inputs)) < 1e-5
