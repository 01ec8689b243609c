from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_dlcourse as kd
from keras_dlcourse.graph import fold_batch_norm
from keras_dlcourse.graph.flat import Graph
from keras_dlcourse.graph.folding import factor_and_offset

L = keras.layers
KERNELS = {
    "Conv2D": (lambda **k: L.Conv2D(5, 3, **k), (7, 6, 4)),
    "Conv2D-grouped": (lambda **k: L.Conv2D(6, 3, groups=2, strides=2, **k), (7, 6, 4)),
    "DepthwiseConv2D": (lambda **k: L.DepthwiseConv2D(3, depth_multiplier=2, **k), (7, 6, 4)),
    "Conv2DTranspose": (lambda **k: L.Conv2DTranspose(5, 3, strides=2, **k), (4, 3, 4)),
    "Conv1D": (lambda **k: L.Conv1D(5, 3, padding="causal", **k), (7, 4)),
    "DepthwiseConv1D": (lambda **k: L.DepthwiseConv1D(3, depth_multiplier=2, **k), (7, 4)),
    "Dense": (lambda **k: L.Dense(5, **k), (4,)),
    "Dense-3D": (lambda **k: L.Dense(5, **k), (6, 4)),
}


def _randomise(model: keras.Model, seed: int = 0) -> keras.Model:
    """Random weights and statistics; about half of the gammas are negative."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        low, high = (0.1, 4.0) if "variance" in weight.path else (-1.5, 1.5)
        weight.assign(random.uniform(low, high, weight.shape))
    return model


def _outputs(model: keras.Model, seed: int = 1) -> np.ndarray:
    random = np.random.default_rng(seed)
    x = [random.normal(size=(3, *tensor.shape[1:])).astype("float32") for tensor in model.inputs]
    return np.asarray(keras.ops.convert_to_numpy(model(x if len(x) > 1 else x[0])))


def _norms(model: keras.Model) -> int:
    return sum(isinstance(layer, L.BatchNormalization) for layer in model.layers)


def _assert_same(folded: keras.Model, model: keras.Model) -> None:
    expected = _outputs(model)
    np.testing.assert_allclose(
        _outputs(folded), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.parametrize(
    "norm", [{}, {"scale": False}, {"center": False}, {"epsilon": 0.1}], ids=str
)
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("kind", KERNELS)
def test_a_kernel_takes_the_normalization_behind_it(kind, use_bias, norm) -> None:
    make, shape = KERNELS[kind]
    inputs = keras.Input(shape)
    hidden = L.BatchNormalization(**norm)(make(use_bias=use_bias, name="kernel")(inputs))
    model = _randomise(keras.Model(inputs, L.ReLU()(hidden), name="net"))
    before = model.get_weights()
    folded = fold_batch_norm(model)
    assert [layer.name for layer in folded.layers[1:2]] == ["kernel"] and _norms(folded) == 0
    assert folded.name == "net" and len(folded.weights) == 2
    _assert_same(folded, model)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


def test_factor_and_offset_are_those_of_the_definition() -> None:
    norm = L.BatchNormalization(epsilon=0.25)
    norm.build((None, 2))
    norm.set_weights([np.array(v) for v in ([2.0, -3.0], [1.0, 0.0], [4.0, 5.0], [3.75, 0.75])])
    factor, offset = factor_and_offset(norm)
    # gamma / sqrt(variance + epsilon), and beta - mean * factor
    np.testing.assert_allclose(factor, [1.0, -3.0])
    np.testing.assert_allclose(offset, [-3.0, 15.0])


def _conv(**options: Any) -> keras.layers.Layer:
    return L.Conv2D(4, 3, padding="same", **options)


def _activated(x: Any) -> Any:
    return L.BatchNormalization()(_conv(activation="relu")(x))


def _shared_convolution(x: Any) -> Any:
    conv = _conv()
    return L.BatchNormalization()(conv(conv(x)))


def _shared_norm(x: Any) -> Any:
    norm = L.BatchNormalization()
    return norm(_conv()(norm(_conv()(x))))


def _other_axis(x: Any) -> Any:
    return L.BatchNormalization(axis=1)(_conv()(x))


def _used_twice(x: Any) -> Any:
    y = _conv()(x)
    return L.Add()([L.BatchNormalization()(y), y])


def _also_an_output(x: Any) -> Any:
    y = _conv()(x)
    return L.Concatenate()([L.BatchNormalization()(y), x]), y


def _batch_statistics(x: Any) -> Any:
    """A normalization that uses the batch's statistics in inference too."""
    return L.BatchNormalization()(_conv()(x), training=True)


def _first(x: Any) -> Any:
    return _conv()(L.BatchNormalization()(x))


def _own_kind(x: Any) -> Any:
    return L.BatchNormalization()(Doubled(4, 3, padding="same")(x))


@keras.saving.register_keras_serializable(package="folding_tests")
class Doubled(L.Conv2D):
    def call(self, inputs: Any) -> Any:
        return keras.ops.square(super().call(inputs))


KEPT = (
    _activated, _shared_convolution, _shared_norm, _other_axis, _used_twice, _batch_statistics,
    _first, _own_kind,
)  # fmt: skip


@pytest.mark.parametrize("build", KEPT, ids=lambda build: build.__name__[1:])
def test_where_it_cannot_go_the_normalization_stays(build) -> None:
    inputs = keras.Input((6, 5, 4))
    model = _randomise(keras.Model(inputs, build(inputs)))
    folded = fold_batch_norm(model)
    assert _norms(folded) == 1
    _assert_same(folded, model)


def test_a_convolution_that_is_an_output_itself_keeps_its_normalization() -> None:
    inputs = keras.Input((6, 5, 4))
    model = _randomise(keras.Model(inputs, list(_also_an_output(inputs))))
    folded = fold_batch_norm(model)
    assert _norms(folded) == 1
    x = np.random.default_rng(1).normal(size=(2, 6, 5, 4)).astype("float32")
    for ours, theirs in zip(folded(x), model(x), strict=True):
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(ours), keras.ops.convert_to_numpy(theirs), rtol=1e-5
        )


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="TensorFlow's CPU has no such kernel")
def test_channels_first_is_left_alone() -> None:
    inputs = keras.Input((4, 5, 4))
    conv = _conv(data_format="channels_first")
    model = _randomise(keras.Model(inputs, L.BatchNormalization()(conv(inputs))))
    folded = fold_batch_norm(model)
    assert _norms(folded) == 1
    _assert_same(folded, model)


def test_a_normalization_as_the_last_layer_and_two_in_a_row() -> None:
    inputs = keras.Input((6, 5, 4))
    norms = L.BatchNormalization()(L.BatchNormalization()(_conv()(inputs)))
    model = _randomise(keras.Model(inputs, norms))
    folded = fold_batch_norm(model)
    assert _norms(folded) == 1
    _assert_same(folded, model)


def test_nested_models_are_opened_and_options_of_layers_kept() -> None:
    x = keras.Input((6, 5, 4))
    conv = L.Conv2D(4, 3, dilation_rate=2, padding="same", trainable=False, use_bias=False)
    base = keras.Sequential([x, conv, L.BatchNormalization()])
    model = _randomise(keras.Sequential([keras.Input((6, 5, 4)), base, L.Flatten()]))
    folded = fold_batch_norm(model)
    assert [node.name for node in Graph(folded).nodes] == [conv.name, model.layers[-1].name]
    merged = folded.layers[1]
    assert merged.dilation_rate == (2, 2) and not merged.trainable and merged.use_bias
    _assert_same(folded, model)


@given(
    kinds=st.lists(st.sampled_from(["conv", "norm", "relu", "depthwise", "linear"]), max_size=6),
    seed=st.integers(0, 99),
)
@settings(max_examples=15)
def test_any_chain_computes_the_same(kinds, seed) -> None:
    x = inputs = keras.Input((5, 4, 3))
    kernel_before = False
    expected = 0
    for kind in kinds:
        layer = {
            "conv": lambda: L.Conv2D(3, 2, padding="same"),
            "norm": L.BatchNormalization,
            "relu": L.ReLU,
            "depthwise": lambda: L.DepthwiseConv2D(2, padding="same"),
            "linear": lambda: L.Conv2D(3, 1, activation="linear"),
        }[kind]()
        x = layer(x)
        expected += kind == "norm" and not kernel_before
        kernel_before = kind in ("conv", "depthwise", "linear")
    model = _randomise(keras.Model(inputs, L.Conv2D(2, 1)(x)), seed)
    folded = fold_batch_norm(model)
    assert _norms(folded) == expected
    _assert_same(folded, model)


def test_models_without_a_graph_are_refused() -> None:
    with pytest.raises(ValueError, match="has not been built"):
        fold_batch_norm(keras.Sequential([L.Dense(2)]))
    with pytest.raises(TypeError, match="Received: NoneType"):
        fold_batch_norm(None)


@pytest.mark.parametrize(
    ("name", "left"),
    [("resnet20_cifar", 0), ("vgg11", 0), ("mobilenet_v3_small", 0), ("densenet_40_12", 40)],
)
def test_networks_of_ours_are_folded_within_their_blocks(name, left) -> None:
    """In DenseNet, only the normalization behind the stem has a convolution before it."""
    options = {"batch_norm": True} if name == "vgg11" else {}
    model = kd.models.build(name, input_shape=(28, 28, 1), classes=2, alpha=0.2, **options)
    random = np.random.default_rng(0)
    for weight in model.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        elif weight.name in ("beta", "moving_mean"):
            weight.assign(random.normal(0, 0.1, weight.shape))
    folded = kd.graph.fold_batch_norm(model)
    assert _norms(folded) <= left
    _assert_same(folded, model)
