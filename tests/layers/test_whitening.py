"""Whitening against NumPy's eigenvectors and scikit-learn's PCA, in Keras and in a file."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from fresh_process import run_in_fresh_process
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

import keras_dlcourse as kd
from keras_dlcourse.layers import Whitening
from keras_dlcourse.layers.normalization.whitening import _Moments

RANDOM = np.random.default_rng(0)
DATA = (RANDOM.normal(size=(600, 5)) @ RANDOM.normal(size=(5, 5)) + 30).astype("float32")
IMAGES = DATA.reshape(12, 5, 10, 5)


def _numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def _adapted(*arguments, data=DATA, **options):
    layer = Whitening(*arguments, **options)
    layer.adapt(data)
    return layer


@pytest.mark.parametrize("components", [None, 3])
def test_pca_is_that_of_scikit_learn(components):
    expected = PCA(components, whiten=True).fit(DATA.astype("float64"))
    layer = _adapted("pca", epsilon=0, components=components)
    np.testing.assert_allclose(_numpy(layer(DATA)), expected.transform(DATA), atol=2e-4)
    restored = expected.inverse_transform(expected.transform(DATA))
    np.testing.assert_allclose(_numpy(layer.inverse(layer(DATA))), restored, atol=1e-4)


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
def test_zca_is_the_inverse_root_of_the_covariance(epsilon):
    variances, directions = np.linalg.eigh(np.cov(DATA.T.astype("float64")))
    root = directions @ np.diag((variances + epsilon) ** -0.5) @ directions.T
    layer = _adapted("zca", epsilon=epsilon)
    np.testing.assert_allclose(_numpy(layer.whitening), root, rtol=1e-4, atol=1e-5)
    whitened = _numpy(layer(DATA))
    np.testing.assert_allclose(whitened, (DATA - DATA.mean(0)) @ root, atol=2e-4)
    np.testing.assert_allclose(_numpy(layer.inverse(whitened)), DATA, rtol=1e-4)
    if not epsilon:
        np.testing.assert_allclose(np.cov(whitened.T), np.eye(5), atol=1e-3)


def test_zca_with_few_components_is_their_projection():
    layer, pca = _adapted("zca", components=2), PCA(2).fit(DATA)
    restored = pca.inverse_transform(pca.transform(DATA))
    np.testing.assert_allclose(_numpy(layer.inverse(layer(DATA))), restored, rtol=1e-4)
    assert layer(DATA).shape == (600, 5)


@settings(max_examples=min(30, settings.default.max_examples))
@given(
    sizes=st.lists(st.integers(1, 30), min_size=2, max_size=8),
    features=st.integers(1, 6),
    offset=st.sampled_from([0.0, 1e3, 1e8]),
    seed=st.integers(0, 999),
)
def test_moments_in_batches_are_those_of_the_whole(sizes, features, offset, seed):
    """Also where the mean is a hundred million deviations away."""
    rows = np.random.default_rng(seed).normal(offset, 1, (sum(sizes), features))
    moments = _Moments()
    for part in np.split(rows, np.cumsum(sizes)[:-1]):
        moments.add(part)
    np.testing.assert_allclose(moments.mean, rows.mean(0), rtol=1e-12, atol=1e-12)
    expected = np.cov(rows.T).reshape(features, features)
    np.testing.assert_allclose(moments.covariance(), expected, rtol=1e-6, atol=1e-6)


def test_images_are_whitened_by_channel_whatever_they_come_in():
    expected = _numpy(_adapted().whitening)
    labels = np.zeros(12)
    batches = [(IMAGES[:5], labels[:5]), (IMAGES[5:], labels[5:])]
    for data in (IMAGES, (IMAGES, labels), batches, kd.data.pipeline(IMAGES, labels, batch_size=7)):
        layer = _adapted(data=data)
        np.testing.assert_allclose(_numpy(layer.whitening), expected, rtol=1e-4, atol=1e-5)
        flat = _numpy(layer(IMAGES)).reshape(-1, 5)
        np.testing.assert_allclose(flat, _numpy(layer(DATA)), atol=1e-5)
    # A pipeline is seen as the network sees it: normalised.
    normalized = kd.data.pipeline(IMAGES, normalization=kd.data.Normalization(10.0, 2.0))
    mean = _numpy(_adapted(data=normalized).mean)
    np.testing.assert_allclose(mean, (DATA.mean(0) - 10) / 2, rtol=1e-5)


def test_before_adapt_there_is_an_error_and_never_a_number():
    layer = Whitening()
    with pytest.raises(ValueError, match=r"whitening.* has no statistics yet. Call adapt\(data\)"):
        layer(DATA)
    with pytest.raises(ValueError, match="no statistics yet"):
        Whitening().inverse(DATA)
    # A model may be built first; in compiled code it cannot raise, so all is NaN.
    model = keras.Sequential([keras.Input((5,)), Whitening(), keras.layers.Dense(1)])
    assert np.isnan(model.predict(DATA[:4], verbose=0)).all()
    model.layers[0].adapt(DATA)
    assert np.isfinite(model.predict(DATA[:4], verbose=0)).all()
    assert np.isfinite(_numpy(model(DATA))).all()


def test_training_leaves_the_statistics_and_passes_gradients():
    model = keras.Sequential([keras.Input((5,)), Whitening(), keras.layers.Dense(1)])
    model.layers[0].adapt(DATA)
    before = [_numpy(weight) for weight in model.layers[0].weights]
    assert not model.layers[0].trainable_weights
    model.compile(keras.optimizers.SGD(0.1), "mse")
    losses = [model.train_on_batch(DATA, DATA[:, :1] - 30) for _ in range(20)]
    assert losses[-1] < 0.1 * losses[0]
    for old, weight in zip(before, model.layers[0].weights, strict=True):
        np.testing.assert_array_equal(_numpy(weight), old)


def test_configuration_weights_and_files_bring_it_back(tmp_path):
    arguments = {"kind": "zca", "epsilon": 0.25, "components": 4}
    layer = Whitening(**arguments, name="white")
    twin = Whitening.from_config(json.loads(json.dumps(layer.get_config())))
    assert {name: getattr(twin, name) for name in arguments} == arguments
    inputs = keras.Input((5,))
    model = keras.Model(inputs, layer(inputs))
    layer.adapt(DATA)
    expected = _numpy(model(DATA))
    copied = keras.models.clone_model(model)
    copied.set_weights(model.get_weights())
    np.testing.assert_array_equal(_numpy(copied(DATA)), expected)
    model.save(tmp_path / "white.keras")
    np.testing.assert_array_equal(_numpy(kd.load(tmp_path / "white.keras")(DATA)), expected)
    np.save(tmp_path / "data.npy", DATA)
    lines = """if True:
        import sys, keras, numpy as np, keras_dlcourse
        folder = sys.argv[1]
        outputs = keras.models.load_model(folder + "/white.keras")(np.load(folder + "/data.npy"))
        np.save(folder + "/outputs.npy", keras.ops.convert_to_numpy(outputs))
    """
    other = "jax" if keras.backend.backend() == "tensorflow" else "tensorflow"
    run_in_fresh_process(lines, tmp_path, KERAS_BACKEND=other)
    np.testing.assert_allclose(np.load(tmp_path / "outputs.npy"), expected, atol=1e-4)


def test_half_precision_computes_in_float32():
    layer = _adapted(dtype="mixed_float16", epsilon=0)
    outputs = layer(DATA + 0.0)
    assert keras.backend.standardize_dtype(outputs.dtype) == "float16"
    assert {weight.dtype for weight in layer.weights} == {"float32"}
    exact = _adapted(dtype="bfloat16", epsilon=0)
    assert keras.backend.standardize_dtype(exact(DATA).dtype) == "bfloat16"


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the converter reads TensorFlow graphs only"
)
@pytest.mark.parametrize("kind", ["pca", "zca"])
def test_a_file_of_builtin_operators_answers_the_same(tmp_path, kind):
    """Whole images, whitened between Flatten and Reshape, and the channels of their pixels."""
    images = RANDOM.normal(size=(200, 4, 6, 3)).astype("float32").cumsum(axis=1)
    whole = _adapted(kind, data=images.reshape(200, -1))
    channels = _adapted(kind, epsilon=0.1, components=2, data=images)
    standard = keras.layers.Normalization()
    standard.adapt(images)
    inputs = keras.Input((4, 6, 3))
    x = keras.layers.Reshape((4, 6, 3))(whole(keras.layers.Flatten()(standard(inputs))))
    model = keras.Model(inputs, keras.layers.Flatten()(channels(x)))
    result = kd.export.to_tflite(
        model, tmp_path / "white.tflite", preprocessing=kd.data.Normalization.identity()
    )
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=result.path.read_bytes())
    interpreter.allocate_tensors()
    found = []
    for image in images[:20]:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    expected = _numpy(model(images[:20]))
    assert np.abs(np.array(found) - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"kind": "ica"}, "kind must be one of 'pca', 'zca'"),
        ({"epsilon": -1}, "epsilon must be a finite number of at least 0. Received: -1"),
        ({"epsilon": float("inf")}, "epsilon must be a finite number"),
        ({"components": 0}, "components must be an integer of at least 1"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Whitening(**arguments)


def test_wrong_data():
    with pytest.raises(ValueError, match="components must be at most the number of features, 5"):
        _adapted(components=6)
    with pytest.raises(ValueError, match="data must have 5 features .* Received: shape \\(9, 4\\)"):
        _adapted().adapt(np.zeros((9, 4)))
    with pytest.raises(ValueError, match="data must have at least 2 rows. Received: 1"):
        _adapted(data=DATA[:1])
    with pytest.raises(ValueError, match="data must be finite"):
        _adapted(data=DATA * np.nan)
    twice = np.repeat(DATA, 2, axis=1)
    with pytest.raises(ValueError, match="no variance in some of the 10 components"):
        _adapted(data=twice, epsilon=0)
    assert _adapted(data=twice, epsilon=0, components=5)(twice).shape == (600, 5)
    with pytest.raises(ValueError, match="needs to know the number of features"):
        Whitening().build((None, None))
