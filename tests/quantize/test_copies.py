"""Copies of networks with functions that Keras cannot find by their names."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from quantized_models import L, device, randomised

import keras_dlcourse as kd
from keras_dlcourse.explain.maps.guided import guided_copy
from keras_dlcourse.graph.flat import copy_model
from keras_dlcourse.graph.logits import find_logits
from keras_dlcourse.graph.running import Network
from keras_dlcourse.quantize.qat.planning import flatten

SHAPE = (6, 6, 3)


def numbers(seed: int, n: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (n, *SHAPE)).astype("float32")


def relu(x: Any) -> Any:
    """Not what Keras calls so."""
    return 2 * ops.tanh(x)


def own_loss(y_true: Any, y_pred: Any) -> Any:
    return ops.mean(ops.square(y_true - y_pred))


def network() -> keras.Model:
    """Functions of all kinds, a nested model, and a compile configuration without a config."""
    backbone = keras.Sequential(
        [
            keras.Input(SHAPE),
            L.Conv2D(4, 3, activation=relu),
            L.Conv2D(4, 1, activation=lambda x: 0.5 * x),
            L.Conv2D(6, 1, activation=L.PReLU(shared_axes=[1, 2])),
        ],
        name="backbone",
    )
    backbone.compile("sgd", own_loss)
    given = keras.Input(SHAPE)
    x = L.Conv2D(6, 3, activation=tf.nn.swish)(backbone(given))
    x = L.Activation(tf.nn.relu6)(x)
    x = L.Dense(5, activation=tf.nn.softmax, name="scores")(L.GlobalAveragePooling2D()(x))
    model = keras.Model(given, x)
    model.compile("sgd", own_loss, metrics=[own_loss])
    model(numbers(0, 1))  # which builds the PReLU
    return randomised(model)


COPIES: dict[str, Callable[[keras.Model], Any]] = {
    "copy_model": copy_model,
    "opened for integers": lambda model: flatten(model).model,
    "prune": lambda model: kd.compress.prune(model, 0.0),
    "strip": lambda model: kd.compress.strip(kd.compress.prune(model, 0.0)),
    "cluster": lambda model: kd.compress.cluster(model, 250, per="layer"),
    "prune_filters": lambda model: kd.compress.prune_filters(model, 0.0),
    "distill": lambda model: kd.compress.distill(model, model).teacher,
    "equalize": kd.quantize.equalize,
    "fold_batch_norm": kd.graph.fold_batch_norm,
    "dense_as_conv": kd.graph.dense_as_conv,
    "remove_strides": lambda model: kd.graph.remove_strides(kd.graph.dense_as_conv(model)),
    "guided_copy": guided_copy,
}


@pytest.mark.parametrize("name", COPIES)
def test_copies_compute_the_same(name: str) -> None:
    model, x = network(), numbers(1)
    expected = ops.convert_to_numpy(model(x))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # not a word of Keras on saving lambdas either
        copy = COPIES[name](model)
    copied = ops.convert_to_numpy(copy(x)).reshape(expected.shape)
    tolerance = 1e-3 if name == "cluster" else 1e-5
    np.testing.assert_allclose(copied, expected, atol=tolerance)
    assert not copy.compiled and model.compiled
    for old in model.weights:
        assert all(old is not new for new in copy.weights)


def test_filters_before_a_layer_as_activation_can_be_removed() -> None:
    given = keras.Input(SHAPE)
    x = L.Conv2D(8, 3, activation=tf.nn.relu, name="wide")(given)
    x = L.Conv2D(4, 3, activation=L.PReLU(shared_axes=[1, 2]))(x)
    model = keras.Model(given, L.Dense(2)(L.Flatten()(x)))
    model(numbers(0, 1))
    randomised(model)
    dead = model.get_layer("wide")
    dead.kernel.assign(ops.where(ops.arange(8) < 4, dead.kernel, 0.0))
    dead.bias.assign(ops.where(ops.arange(8) < 4, dead.bias, 0.0))
    narrow = kd.compress.prune_filters(model, 0.5)
    assert narrow.get_layer("wide").filters == 4
    ours, theirs = (ops.convert_to_numpy(one(numbers(1))) for one in (model, narrow))
    np.testing.assert_allclose(theirs, ours, atol=1e-5)


def test_the_aware_network_answers_on_a_device_as_in_keras(tmp_path: Path) -> None:
    model = network()
    with pytest.warns(UserWarning, match=r"test_copies.relu is a custom function.*and|rule"):
        quantized = kd.quantize.quantization_aware(model)
    left = {step.kind for step in kd.quantize.plan(model).left_in_float}
    assert left == {f"Activation {__name__}.relu", f"Activation {__name__}.<lambda>"}
    quantized.compile("sgd", own_loss)  # the export copies what is compiled so, too
    kd.quantize.calibrate(quantized, numbers(2))
    with pytest.warns(UserWarning, match="not all integer"):
        result = kd.export.to_tflite(
            quantized,
            tmp_path / "model.tflite",
            preprocessing=kd.data.Normalization((127.5,), (30.0,)),
        )
    theirs, step = device(result.path, numbers(3))
    ours = ops.convert_to_numpy(quantized(numbers(3), training=False))
    assert np.abs(ours - theirs).max() <= 3.01 * step
    assert np.ptp(theirs, axis=0).max() > 5 * step


@pytest.mark.parametrize(
    ("activation", "weights", "outputs"),
    [
        (L.LeakyReLU(0.3), 1, ["observed", "observed"]),
        (L.ReLU(6.0), 1, ["observed"]),
        (L.ReLU(), 1, ["observed"]),
        (L.ReLU(1.0), 1, ["inside", "fixed"]),
        (L.Softmax(), 1, ["observed", "fixed"]),
        (tf.nn.relu, 1, ["observed"]),
        (tf.nn.relu6, 1, ["observed"]),
        (tf.nn.swish, 1, ["observed", "fixed", "observed"]),
        (tf.nn.softmax, 1, ["observed", "fixed"]),
        (tf.nn.tanh, 1, ["observed", "fixed"]),
        (ops.sigmoid, 1, ["observed", "fixed"]),
        (tf.nn.elu, 1, ["observed", "float"]),
    ],
)
def test_layers_and_functions_as_activations_are_looked_up(activation, weights, outputs) -> None:
    given = keras.Input((4, 4, 3))
    plan = kd.quantize.plan(keras.Model(given, L.Conv2D(2, 3, activation=activation)(given)))
    assert [step.output.split(" ")[0] for step in plan.steps] == outputs
    assert sum(bool(step.weights) for step in plan.steps) == weights


def test_an_own_function_is_not_taken_for_the_one_of_keras_of_its_name() -> None:
    given = keras.Input((4,))
    model = randomised(keras.Model(given, L.Dense(3, activation=relu)(given)))
    (dense, step) = kd.quantize.plan(model).steps
    assert "custom function" in step.reason and dense.reason == ""
    assert find_logits(Network(model)).activation == f"{__name__}.relu"
    guided = guided_copy(model)
    assert not any("guided" in layer.name.lower() for layer in guided.layers)


def test_copies_with_functions_of_tf_nn_are_saved_and_loaded(tmp_path: Path) -> None:
    given = keras.Input((4,))
    x = L.Dense(3, activation=tf.nn.swish)(given)
    model = randomised(keras.Model(given, L.Dense(3, activation=tf.nn.softmax)(x)))
    x = np.random.default_rng(0).normal(0, 1, (5, 4)).astype("float32")
    for number, copy in enumerate((kd.compress.prune(model, 0.5), copy_model(model))):
        copy.save(tmp_path / f"{number}.keras")
        again = keras.saving.load_model(tmp_path / f"{number}.keras")
        np.testing.assert_array_equal(again.predict(x, verbose=0), copy.predict(x, verbose=0))


def test_the_end_of_a_classifier_is_known_by_the_names_of_tf_nn_too() -> None:
    def classifier(activation: Any) -> keras.Model:
        given = keras.Input((4,))
        return keras.Model(given, L.Dense(3, activation=activation)(given))

    for activation in (tf.nn.softmax, L.Softmax()):
        assert find_logits(Network(classifier(activation))).activation == "softmax"
        assert not kd.compress.distill(
            classifier(activation), classifier("softmax")
        ).divergence.from_logits


class Teacher(keras.Model):
    """A classifier whose graph is hidden in its call."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dense = L.Dense(3)
        self.output_shape = (None, 3)

    def build(self, shape: Any) -> None:
        self.dense.build(shape)

    def call(self, x: Any) -> Any:
        return self.dense(x)


class Closed(L.Layer):
    """A layer without a config."""

    def __init__(self, function: Any) -> None:
        super().__init__(name="closed")
        self.function = function

    def call(self, x: Any) -> Any:
        return self.function(x)


@pytest.mark.parametrize(
    "layer",
    [
        Closed(ops.abs),
        L.TimeDistributed(L.Dense(3, activation=relu), name="closed"),
    ],
)
@pytest.mark.parametrize(
    "method",
    [
        kd.quantize.quantization_aware,
        kd.quantize.plan,
        lambda model: kd.compress.prune(model, 0.5),
        kd.graph.fold_batch_norm,
    ],
)
def test_layers_that_cannot_be_made_again_say_so(layer, method) -> None:
    given = keras.Input((4, 3))
    model = keras.Model(given, L.Dense(2)(layer(given)))
    with pytest.raises(
        ValueError, match=r"'closed' \(\w+\) cannot be copied. Its get_config\(\) m"
    ):
        method(model)


def test_a_subclassed_teacher_compiled_with_a_function_of_ones_own_is_copied() -> None:
    given = keras.Input((4,))
    student, teacher = keras.Model(given, L.Dense(3)(given)), Teacher()
    teacher.compile("sgd", own_loss)
    x = np.eye(4, dtype="float32")
    expected = ops.convert_to_numpy(teacher(x))
    copy = kd.compress.distill(teacher, student, from_logits=True).teacher
    np.testing.assert_array_equal(ops.convert_to_numpy(copy(x)), expected)
    assert copy is not teacher and not copy.compiled
