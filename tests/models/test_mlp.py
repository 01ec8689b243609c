"""The multi-layer perceptron: its outputs, its loss, and its gradients by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from scipy.signal import correlate2d
from scipy.special import softmax

import keras_dlcourse as kd
from keras_dlcourse.losses import for_task
from keras_dlcourse.models import MLP

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 5)).astype("float32")


def _numpy(x):
    return np.asarray(keras.ops.convert_to_numpy(x), "float64")


def _gradients(model, x, y):
    """Return what one step of SGD at rate 1 takes off each weight."""
    before = [_numpy(weight) for weight in model.trainable_weights]
    model.train_on_batch(x, y)
    after = [_numpy(weight) for weight in model.trainable_weights]
    return [old - new for old, new in zip(before, after, strict=True)]


@pytest.mark.parametrize(
    ("task", "outputs", "activation", "low", "high"),
    [
        ("regression", 2, "linear", -np.inf, np.inf),
        ("binary", 1, "sigmoid", 0, 1),
        ("binary_tanh", 1, "tanh", -1, 1),
        ("multiclass", 3, "softmax", 0, 1),
    ],
)
def test_outputs_are_coded_by_the_task_and_trained_by_its_loss(
    task, outputs, activation, low, high, tmp_path
):
    model = MLP(5, (8,), task=task, outputs=outputs)
    assert model.get_layer("output").activation is keras.activations.get(activation)
    found = model.predict(X, verbose=0)
    assert found.shape == (12, outputs) and (found >= low).all() and (found <= high).all()
    labels = {
        "regression": X[:, :2],
        "binary": (X[:, :1] > 0).astype("float32"),
        "binary_tanh": np.sign(X[:, :1]),
        "multiclass": np.arange(12) % 3,
    }[task]
    model.compile(keras.optimizers.Adam(0.05), for_task(task))
    losses = model.fit(X, labels, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < 0.6 * losses[0]
    model.save(tmp_path / "mlp.keras")
    np.testing.assert_allclose(
        kd.load(tmp_path / "mlp.keras").predict(X, verbose=0), model.predict(X, verbose=0)
    )


@pytest.mark.parametrize(
    ("activation", "expected"),
    [("tanh", "GlorotUniform"), ("sigmoid", "GlorotUniform"), ("relu", "HeNormal"),
     ("leaky_relu", "HeNormal"), ("selu", "LecunNormal")],
)  # fmt: skip
def test_initializers_go_with_the_activation(activation, expected):
    layer = MLP(5, (8,), task="binary", activation=activation).get_layer("hidden_1")
    assert type(layer.kernel_initializer).__name__ == expected
    given = MLP(5, (8,), task="binary", kernel_initializer="zeros").get_layer("hidden_1")
    assert not _numpy(given.kernel).any()


@pytest.mark.parametrize(
    ("name", "variance"),
    [("lecun_normal", lambda i, o: 1 / i), ("glorot_normal", lambda i, o: 2 / (i + o)),
     ("he_normal", lambda i, o: 2 / i)],
)  # fmt: skip
def test_variances_of_the_course_are_those_of_kerass_initializers(name, variance):
    layer = MLP(300, (500,), task="binary", kernel_initializer=name).get_layer("hidden_1")
    assert _numpy(layer.kernel).var() == pytest.approx(variance(300, 500), rel=0.03)


def test_zero_weights_stay_alike_for_ever():
    start = keras.initializers.Constant(0.3)
    model = MLP(5, (6,), task="binary", kernel_initializer=start)
    output = model.get_layer("output")
    output.kernel.assign(np.full((6, 1), 0.1))
    model.compile(keras.optimizers.SGD(0.5), for_task("binary"))
    model.fit(X, (X[:, 0] > 0).astype("float32"), epochs=5, verbose=0)
    kernel = _numpy(model.get_layer("hidden_1").kernel)
    np.testing.assert_allclose(kernel, np.repeat(kernel[:, :1], 6, 1), rtol=1e-5)
    assert np.abs(kernel - 0.3).max() > 1e-2  # it did learn: six times the same
    zeros = MLP(5, (6,), task="binary", kernel_initializer="zeros")
    zeros.get_layer("output").kernel.assign(np.zeros((6, 1)))
    zeros.compile(keras.optimizers.SGD(0.5), for_task("binary"))
    zeros.fit(X, (X[:, 0] > 0).astype("float32"), epochs=5, verbose=0)
    assert not _numpy(zeros.get_layer("hidden_1").kernel).any()


def test_without_hidden_layers_it_is_the_linear_model_and_logits_are_before_the_activation():
    model = MLP((2, 3), (), task="multiclass", outputs=4)
    raw = MLP((2, 3), (), task="multiclass", outputs=4, logits=True)
    raw.set_weights(model.get_weights())
    x = RNG.normal(size=(6, 2, 3)).astype("float32")
    kernel, bias = model.get_weights()
    expected = x.reshape(6, 6) @ kernel + bias
    np.testing.assert_allclose(raw.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-6)
    found = model.predict(x, verbose=0)
    np.testing.assert_allclose(found, softmax(expected, axis=1), rtol=1e-5)
    assert (found.argmax(1) == expected.argmax(1)).all()  # softmax changes no answer


def test_two_linear_layers_are_one():
    model = MLP(5, (7,), task="regression", activation="linear")
    model.set_weights([RNG.normal(size=weight.shape) for weight in model.get_weights()])
    (first, bias), (second, offset) = (layer.get_weights() for layer in model.layers[1:])
    one = MLP(5, (), task="regression")
    one.set_weights([first @ second, bias @ second + offset])
    np.testing.assert_allclose(
        model.predict(X, verbose=0), one.predict(X, verbose=0), rtol=1e-4, atol=1e-6
    )


def test_dropout_and_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = MLP(5, (8, 4), task="binary", dropout=0.5)
    finally:
        keras.config.set_dtype_policy("float32")
    assert [layer.name for layer in model.layers if "dropout" in layer.name] == [
        "dropout_1", "dropout_2"
    ]  # fmt: skip
    assert model.output.dtype == "float32"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"input_shape": 0}, ValueError, "input_shape.*0"),
        ({"input_shape": ()}, ValueError, r"input_shape.*\(\)"),
        ({"hidden_units": 64}, TypeError, "hidden_units.*64"),
        ({"hidden_units": (8, 0)}, ValueError, "hidden_units.*0"),
        ({"task": "ranking"}, ValueError, "task.*'ranking'"),
        ({"task": "multiclass"}, TypeError, "outputs.*None"),
        ({"task": "multiclass", "outputs": 1}, ValueError, "outputs.*at least 2.*1.*task='binary'"),
        ({"activation": "rellu"}, ValueError, "activation.*'rellu'"),
        ({"activation": None}, TypeError, "activation.*None"),
        ({"dropout": 1}, ValueError, "dropout.*1"),
        ({"task": "regression", "logits": True}, ValueError, "logits must be False.*'regression'"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        MLP(**{"input_shape": 5, "task": "binary", **arguments})


def test_backpropagation_through_an_mlp_by_hand():
    """The chain rule, layer by layer, from the loss back to the first weights."""
    model = MLP(5, (4, 3), task="multiclass", outputs=3)
    model.compile(keras.optimizers.SGD(1.0), for_task("multiclass"))
    labels = np.arange(12) % 3
    w1, b1, w2, b2, w3, b3 = (weights.astype("float64") for weights in model.get_weights())
    h1 = np.tanh(X @ w1 + b1)
    h2 = np.tanh(h1 @ w2 + b2)
    d3 = (softmax(h2 @ w3 + b3, axis=1) - np.eye(3)[labels]) / len(X)  # by the logits
    d2 = (d3 @ w3.T) * (1 - h2**2)
    d1 = (d2 @ w2.T) * (1 - h1**2)
    expected = [X.T @ d1, d1.sum(0), h1.T @ d2, d2.sum(0), h2.T @ d3, d3.sum(0)]
    for actual, wanted in zip(_gradients(model, X, labels), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-3, atol=2e-6)


def test_backpropagation_through_a_cnn_by_hand():
    """Convolution, ReLU, max pooling and a dense layer, with loops over every place."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6, 5, 2)),
            keras.layers.Conv2D(3, (3, 2), activation="relu", name="conv"),
            keras.layers.MaxPooling2D(2),
            keras.layers.Flatten(),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    x = RNG.normal(size=(4, 6, 5, 2)).astype("float32")
    labels = np.array([0, 1, 1, 0])
    model.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy")
    kernel, bias, dense, offset = (weights.astype("float64") for weights in model.get_weights())
    a = np.zeros((4, 4, 4, 3))  # before ReLU
    for n, c, f in np.ndindex(4, 2, 3):
        a[n, :, :, f] += correlate2d(x[n, :, :, c], kernel[:, :, c, f], "valid")
    a += bias
    h = np.maximum(a, 0)
    blocks = h.reshape(4, 2, 2, 2, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(4, 2, 2, 4, 3)
    pooled = blocks.max(3)
    d = (softmax(pooled.reshape(4, -1) @ dense + offset, axis=1) - np.eye(2)[labels]) / 4
    by_pooled = (d @ dense.T).reshape(pooled.shape)
    by_a = np.zeros_like(a)
    for n, r, q, f in np.ndindex(pooled.shape):  # to the one place that was the largest
        place = blocks[n, r, q, :, f].argmax()
        row, column = 2 * r + place // 2, 2 * q + place % 2
        by_a[n, row, column, f] = by_pooled[n, r, q, f] * (a[n, row, column, f] > 0)
    by_kernel = np.zeros_like(kernel)
    for n, c, f in np.ndindex(4, 2, 3):
        by_kernel[:, :, c, f] += correlate2d(x[n, :, :, c], by_a[n, :, :, f], "valid")
    expected = [by_kernel, by_a.sum((0, 1, 2)), pooled.reshape(4, -1).T @ d, d.sum(0)]
    for actual, wanted in zip(_gradients(model, x, labels), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-3, atol=2e-6)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the converter reads TensorFlow graphs only"
)
def test_exports_and_agrees(tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    model = MLP(5, (8,), task="multiclass", outputs=3, activation="relu")
    model.export(tmp_path / "mlp", format="tf_saved_model", verbose=False)
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "mlp"))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    interpreter = Interpreter(model_content=converter.convert())
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(source["index"], X.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source["index"], X)
    interpreter.invoke()
    found = interpreter.get_tensor(target["index"])
    np.testing.assert_allclose(found, model.predict(X, verbose=0), rtol=1e-5, atol=1e-6)
