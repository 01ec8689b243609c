"""What every family of models keeps to."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from contract_cases import LOADED_ELSEWHERE, MODELS, ModelCase
from contract_kit import BACKENDS, answers, images, randomise, relative_error, run_tflite, tflite

import keras_dlcourse as kd

pytestmark = pytest.mark.parametrize("case", MODELS, ids=lambda case: case.id)


@pytest.fixture(autouse=True)
def on_other_backends_what_depends_on_them(case: ModelCase, request) -> None:
    """Sizes and strides are the same on each; networks run operation by operation are slow there.

    Layers are checked on each backend, each by itself: test_layer_contract.py.
    """
    depends = {"test_probabilities_for_any_batch", "test_every_trainable_weight_gets_a_gradient"}
    if (
        keras.backend.backend() != "tensorflow"
        and case.name not in LOADED_ELSEWHERE
        and request.function.__name__ not in depends
    ):
        pytest.skip("it is about sizes, not backends")


def _small(case: ModelCase, **changes: object) -> keras.Model:
    return kd.models.build(case.name, **{**case.small, **changes})


def _features(case: ModelCase, **changes: object) -> keras.Model:
    """Build the small model without its classifier."""
    return _small(case, include_top=False, classes=1000, **changes)


def test_the_registry_knows_the_builder(case: ModelCase) -> None:
    assert case.name in kd.models.names()
    assert _small(case).count_params() == case.builder(**case.small).count_params()


def test_probabilities_for_any_batch(case: ModelCase) -> None:
    model, raw = _small(case), _small(case, classifier_activation=None)
    randomise(model)
    raw.set_weights(model.get_weights())
    for batch in (1, 3):
        scores, logits = (answers(each, images((28, 28, 1), batch)) for each in (model, raw))
        assert scores.shape == (batch, 3)
        np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)
        assert (scores.argmax(axis=1) == logits.argmax(axis=1)).all()
        assert len(np.unique(logits)) == logits.size, "the images are not told apart"


def test_a_file_from_a_stranger_opens(case: ModelCase, saved_parts) -> None:
    loaded = kd.load(saved_parts / f"{case.id}.keras")
    expected = np.load(saved_parts / f"{case.id}.expected.npy")
    np.testing.assert_array_equal(answers(loaded, images(loaded.input_shape[1:])), expected)


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


def test_every_trainable_weight_gets_a_gradient(case: ModelCase) -> None:
    model = _small(case)
    randomise(model)
    before = [keras.ops.convert_to_numpy(weight) for weight in model.weights]
    # Far too fast to learn: a weight of 1 is to be moved by a gradient of 1e-9, too.
    model.compile(keras.optimizers.SGD(1e3), "sparse_categorical_crossentropy")
    model.train_on_batch(images((28, 28, 1), 12), np.arange(12) % 3)
    still = [
        weight.path
        for weight, old in zip(model.weights, before, strict=True)
        if np.array_equal(keras.ops.convert_to_numpy(weight), old)
        and weight.name not in case.steady
    ]
    assert not still


def test_features_of_any_image_size(case: ModelCase) -> None:
    model = _features(case, input_shape=(None, None, 3))
    assert model.output_shape == (None, None, None, case.features)
    for height, width in ((case.least, 96), (case.least + 1, 97)):
        outputs = model(images((height, width, 3), 1))
        assert tuple(outputs.shape) == model.compute_output_shape((1, height, width, 3))
        if case.rounds_up:
            expected = (math.ceil(size / case.stride) for size in (height, width))
            assert tuple(outputs.shape) == (1, *expected, case.features)


@pytest.mark.parametrize(("pooling", "pool"), [("avg", np.mean), ("max", np.max)])
def test_pooled_features(case: ModelCase, pooling, pool) -> None:
    maps, pooled = _features(case), _features(case, pooling=pooling)
    randomise(maps)
    pooled.set_weights(maps.get_weights())
    inputs = images((28, 28, 1))
    expected = pool(answers(maps, inputs), axis=(1, 2))
    np.testing.assert_allclose(answers(pooled, inputs), expected, rtol=1e-4, atol=1e-5)


def test_mixed_precision_ends_in_float32(case: ModelCase) -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = _small(case)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.output.dtype == "float32", "probabilities in 16 bits spoil the loss"
    assert {layer.compute_dtype for layer in model.layers[1:-1]} == {"float16"}


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the run on TensorFlow tries every backend"
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_saved_file_answers_the_same_in_a_fresh_process(case, backend, reloaded) -> None:
    if backend != "tensorflow" and case.name not in LOADED_ELSEWHERE:
        pytest.skip("its layers are loaded there, each by itself: test_layer_contract.py")
    expected, actual = reloaded(case.id, backend)
    # Up to 54 convolutions, each summed in another order.
    assert relative_error(actual, expected) < 1e-4


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the converter reads TensorFlow graphs only"
)
def test_exports_with_builtin_operators_only(case: ModelCase) -> None:
    model = _small(case)
    randomise(model)
    inputs = images((28, 28, 1))
    outputs = run_tflite(tflite(model), inputs)
    assert relative_error(outputs, answers(model, inputs)) < 1e-5
