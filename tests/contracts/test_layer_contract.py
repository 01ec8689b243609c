"""What every layer of the package keeps to."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
from cases.kinds import LayerCase
from cases.layers import LAYERS
from contract_kit import (
    answer_of,
    answers,
    images,
    model_of,
    randomise,
    relative_error,
    run_tflite,
    tflite,
    together,
)

pytestmark = pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.id)
CASES = {case.id: case for case in LAYERS}


def test_shapes_with_any_batch(case: LayerCase) -> None:
    layer = case.layer(**case.arguments)
    assert layer.compute_output_shape((None, *case.input_shape)) == (None, *case.output_shape)
    symbolic = layer(keras.KerasTensor((None, *case.input_shape)))
    assert tuple(symbolic.shape) == (None, *case.output_shape)
    for batch in (1, 4):
        outputs = layer(images(case.input_shape, batch))
        assert tuple(outputs.shape) == (batch, *case.output_shape)


def test_any_image_size(case: LayerCase) -> None:
    channels = case.input_shape[-1]
    model = model_of(case.layer(**case.arguments), (None, None, channels))
    # 18x12 is twice the size of most cases, and keeps the rounding of strides visible.
    shape = (2 * case.input_shape[0], 2 * case.input_shape[1] + 1, channels)
    expected = model.layers[-1].compute_output_shape((2, *shape))
    assert tuple(model(images(shape, 2)).shape) == tuple(expected)


def test_the_case_gives_every_argument_a_value_that_is_not_the_default(case: LayerCase) -> None:
    parameters = inspect.signature(case.layer.__init__).parameters
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    own = {name for name, parameter in parameters.items() if parameter.kind not in variadic}
    own = own - {"self"} if "__init__" in vars(case.layer) else set()
    missing = own - set(case.arguments)
    # Another case of the same layer may cover it.
    covered = set().union(*(other.arguments for other in LAYERS if other.layer is case.layer))
    assert own == covered and not missing - covered
    for name, value in case.arguments.items():
        if name != "strides":
            assert value != parameters[name].default, name


def test_config_round_trip_gives_the_same_outputs(case: LayerCase) -> None:
    layer = case.layer(**case.arguments, name="named", dtype="mixed_float16")
    twin = case.layer.from_config(json.loads(json.dumps(layer.get_config())))
    for name in case.arguments:
        assert getattr(twin, name) == getattr(layer, name) == case.arguments[name], name
    assert (twin.name, twin.dtype_policy.name) == ("named", "mixed_float16")
    inputs = images(case.input_shape)
    layer(inputs), twin(inputs)
    randomise(layer)
    twin.set_weights(layer.get_weights())
    # Dropout draws anew in each.
    drops = getattr(layer, "dropout", 0) or getattr(layer, "drop_path", 0)
    for training in (False,) if drops else (False, True):
        outputs, again = layer(inputs, training=training), twin(inputs, training=training)
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(again), keras.ops.convert_to_numpy(outputs)
        )
    # The momentum of moving statistics shows only in what training did to them.
    for ours, theirs in zip(layer.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(theirs, ours)


def test_trainable_is_in_the_config(case: LayerCase) -> None:
    layer = case.layer(**case.arguments, trainable=False)
    assert not case.layer.from_config(layer.get_config()).trainable
    layer(images(case.input_shape))
    assert not layer.trainable_weights


def test_registered_under_the_package_name(case: LayerCase) -> None:
    name = keras.saving.get_registered_name(case.layer)
    assert name == f"keras_dlcourse>{case.layer.__name__}"


def _trained(ids: Sequence[str], **arguments: Any) -> dict[str, Any]:
    """Return each layer, and its weights before a training step of one model with them all."""
    layers, inputs, outputs, before = {}, [], [], {}
    for name in ids:
        layers[name] = CASES[name].layer(**CASES[name].arguments, **arguments)
        inputs.append(keras.Input(CASES[name].input_shape))
        pooled = keras.layers.GlobalAveragePooling2D()(layers[name](inputs[-1]))
        outputs.append(keras.layers.Dense(1)(pooled))
        randomise(layers[name])
        before[name] = [np.array(weight) for weight in layers[name].get_weights()]
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.train_on_batch(
        [images(CASES[name].input_shape, 8) for name in ids], [np.ones((8, 1))] * len(ids)
    )
    return {name: (layers[name], before[name]) for name in ids}


@pytest.fixture(scope="module")
def trained() -> dict[str, Any]:
    return together(list(CASES), _trained)


@pytest.fixture(scope="module")
def trained_frozen() -> dict[str, Any]:
    return together(list(CASES), lambda ids: _trained(ids, trainable=False))


def test_a_training_step_changes_every_weight_that_it_should(case: LayerCase, trained) -> None:
    layer, before = answer_of(trained, case.id)
    assert bool(before) == case.has_weights
    for weight, old in zip(layer.weights, before, strict=True):
        stays = np.array_equal(keras.ops.convert_to_numpy(weight), old)
        assert stays == (weight.name in case.steady) or weight.name in case.either, weight.path


def test_frozen_layer_is_not_changed_by_training(case: LayerCase, trained_frozen) -> None:
    layer, before = answer_of(trained_frozen, case.id)
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


def test_mixed_precision_reaches_every_sublayer(case: LayerCase) -> None:
    half = case.layer(**case.arguments, dtype="mixed_float16")
    full = case.layer(**case.arguments)
    inputs = images(case.input_shape)
    half(inputs), full(inputs)
    for sublayer in half._flatten_layers():
        assert sublayer.dtype_policy.name == "mixed_float16", sublayer.path
    assert {weight.dtype for weight in half.weights} <= {"float32", "int32"}  # counters are whole
    randomise(full)
    half.set_weights(full.get_weights())
    outputs = half(inputs)
    assert keras.backend.standardize_dtype(outputs.dtype) == "float16"
    actual, expected = keras.ops.convert_to_numpy(outputs), keras.ops.convert_to_numpy(full(inputs))
    # float16 keeps about 3 digits in each of up to 9 operations.
    assert relative_error(actual.astype("float32"), expected) < 2e-2


def test_call_gives_the_flat_graph_of_primitive_layers(case: LayerCase) -> None:
    if not case.is_composite:
        pytest.skip("it is a primitive layer itself")
    composite = model_of(case.layer(**case.arguments), case.input_shape)
    randomise(composite)
    flat = keras.models.clone_model(
        composite,
        clone_function=lambda layer: layer,
        call_function=lambda layer, *args, **kwargs: (
            layer.call(*args) if isinstance(layer, case.layer) else layer(*args, **kwargs)
        ),
    )
    for layer in flat.layers:
        assert layer.__class__.__module__.startswith("keras."), layer
        assert not getattr(layer, "_layers", []), f"{layer.name} is no primitive layer"
    inputs = images(case.input_shape)
    np.testing.assert_array_equal(answers(flat, inputs), answers(composite, inputs))
    # The graph is a live one: training it moves the layer's own statistics.
    has_statistics = any(weight.name == "moving_mean" for weight in composite.weights)
    before = composite.get_weights()
    flat(inputs, training=True)
    changed = [
        not np.array_equal(old, new)
        for old, new in zip(before, composite.get_weights(), strict=True)
    ]
    assert any(changed) == has_statistics


@pytest.fixture(scope="module")
def exported() -> dict[str, Any]:
    """What each layer answers in a file that holds them all, and in Keras."""

    def run(ids: Sequence[str]) -> dict[str, Any]:
        inputs = {name: keras.Input(CASES[name].input_shape, name=name) for name in ids}
        layers = {name: CASES[name].layer(**CASES[name].arguments) for name in ids}
        outputs = {name: layers[name](inputs[name]) for name in ids}
        model = keras.Model(list(inputs.values()), outputs)
        for layer in layers.values():
            randomise(layer)
        given = {name: images(CASES[name].input_shape) for name in ids}
        expected = model(list(given.values()), training=False)
        outputs = run_tflite(tflite(model), given)
        return {name: (outputs[name], keras.ops.convert_to_numpy(expected[name])) for name in ids}

    return together([case.id for case in LAYERS if case.exports], run)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the converter reads TensorFlow graphs only"
)
def test_exports_with_builtin_operators_only(case: LayerCase, exported) -> None:
    if not case.exports:
        pytest.skip("it is exported in another form")
    outputs, expected = answer_of(exported, case.id)
    assert relative_error(outputs, expected) < 1e-5
