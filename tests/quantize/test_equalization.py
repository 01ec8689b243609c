from __future__ import annotations

import keras
import numpy as np
import pytest
from planted_faults import examples, network, randomised, scale_channel

from keras_dlcourse.graph.flat import Graph
from keras_dlcourse.quantize.post_training.bias_correction import correct_bias, round_kernel
from keras_dlcourse.quantize.post_training.equalization import equalize, find_pairs
from keras_dlcourse.quantize.post_training.replaced_activations import replace_activations

layers = keras.layers


def sizes(model: keras.Model, name: str) -> np.ndarray:
    kernel = model.get_layer(name).get_weights()[0]
    return np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1)))


def test_outputs_stay_and_channels_become_alike() -> None:
    data = examples(16)
    model = network()
    for channel, factor in ((1, 100), (4, 0.01), (6, 30)):
        scale_channel(model, "stem", "depthwise", channel, factor)
        scale_channel(model, "middle", "late", channel, 1 / factor)
    before = model.predict(data, verbose=0)
    weights = [w.copy() for w in model.get_weights()]
    even = equalize(model)
    assert np.allclose(even.predict(data, verbose=0), before, atol=1e-5, rtol=1e-5)
    for name in ("stem", "middle"):
        assert sizes(model, name).max() / np.median(sizes(model, name)) > 15
        assert sizes(even, name).max() / np.median(sizes(even, name)) < 4
    for ours, theirs in zip(model.get_weights(), weights, strict=True):
        assert np.array_equal(ours, theirs)  # the model is left as it was


def test_sizes_are_those_of_the_paper() -> None:
    """s_i = sqrt(r1_i r2_i) / r2_i: afterwards both kernels' channels have the size sqrt(r1 r2)."""
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(5, activation="relu", name="first"),
            layers.Dense(4, name="second"),
        ]
    )
    randomised(model, 3)
    first, second = (model.get_layer(name).get_weights()[0] for name in ("first", "second"))
    expected = np.sqrt(np.abs(first).max(0) * np.abs(second).max(1))
    even = equalize(model)
    first, second = (even.get_layer(name).get_weights()[0] for name in ("first", "second"))
    assert np.allclose(np.abs(first).max(0), expected, rtol=1e-5)
    assert np.allclose(np.abs(second).max(1), expected, rtol=1e-5)


def branched(activation: str = "relu", multiplier: int = 1) -> keras.Model:
    """Batch normalization, a depthwise multiplier, a sum, pooling, and a layer called twice."""
    x = inputs = keras.Input((8, 8, 4))
    x = layers.Conv2D(6, 3, use_bias=False, name="a")(x)
    x = layers.Activation(activation, name="bend")(layers.BatchNormalization(name="norm")(x))
    x = layers.ZeroPadding2D()(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=multiplier, activation="relu", name="b")(x)
    x = layers.Conv2D(6, 1, name="c")(layers.MaxPooling2D()(x))
    shared = layers.Conv2D(6, 1, activation="relu", name="shared")
    x = layers.Add(name="sum")([x, shared(x)])
    x = layers.GlobalAveragePooling2D()(shared(x))
    model = randomised(keras.Model(inputs, layers.Dense(3, name="d")(x)))
    rng = np.random.default_rng(5)
    model.get_layer("norm").set_weights(
        [rng.uniform(0.5, 2, 6), rng.normal(size=6), rng.normal(size=6), rng.uniform(0.5, 2, 6)]
    )
    return model


@pytest.mark.parametrize("multiplier", [1, 2])
def test_networks_with_branches(multiplier) -> None:
    data = examples(8)[:, :8, :8]
    model = branched(multiplier=multiplier)
    even = equalize(model)
    assert np.allclose(even.predict(data, verbose=0), model.predict(data, verbose=0), atol=1e-5)
    assert not any(isinstance(layer, layers.BatchNormalization) for layer in even.layers)
    assert not np.allclose(sizes(even, "a"), sizes(model, "a"))


def test_pairs_end_where_channels_cannot_be_scaled() -> None:
    pairs = [(p.first.name, p.second.name) for p in find_pairs(Graph(equalize(branched())))]
    assert pairs == [("a", "b"), ("b", "c")]  # c has two readers, shared has two calls
    model = network("elu")
    assert ("middle", "late") not in [
        (p.first.name, p.second.name) for p in find_pairs(Graph(equalize(model)))
    ]


def test_relu6_is_replaced_or_left() -> None:
    data = examples(8)[:, :8, :8]
    model = branched("relu6")
    even = equalize(model)
    assert even.get_layer("bend").activation is keras.activations.relu
    # Below 6 the two agree.
    small = data * 0.01
    assert np.allclose(even.predict(small, verbose=0), model.predict(small, verbose=0), atol=1e-5)
    left = equalize(model, replace_relu6=False)
    assert left.get_layer("bend").activation is keras.activations.relu6
    assert np.allclose(left.predict(data, verbose=0), model.predict(data, verbose=0), atol=1e-5)


def test_bias_correction_takes_out_the_mean_error() -> None:
    data = examples(64)
    model = network(seed=2)
    corrected = correct_bias(model, data)

    def mean_error(candidate: keras.Model, name: str) -> np.ndarray:
        """The mean of what int8 weights change, on the numbers of the float network."""
        source = model.get_layer(name)
        inputs = keras.Model(model.inputs, source.input).predict(data, verbose=0)
        kernel, bias = candidate.get_layer(name).get_weights()
        axes = (0, 1) if "depthwise" in name else tuple(range(kernel.ndim - 1))
        twin = type(source).from_config({**source.get_config(), "activation": None})
        twin.build(inputs.shape)
        twin.set_weights([round_kernel(kernel, axes), bias])
        exact = type(source).from_config({**source.get_config(), "activation": None})
        exact.build(inputs.shape)
        exact.set_weights(source.get_weights())
        error = np.asarray(twin(inputs)) - np.asarray(exact(inputs))
        return error.mean(axis=tuple(range(error.ndim - 1)))

    for name in ("stem", "depthwise", "late", "scores"):
        before, after = np.abs(mean_error(model, name)), np.abs(mean_error(corrected, name))
        assert after.max() < 1e-5 < before.max()


def test_rounded_weights_are_those_of_the_file(tmp_path) -> None:
    from planted_faults import int8_file

    from keras_dlcourse.edge import ModelFile

    model = network()
    file = ModelFile.read(int8_file(model, tmp_path / "model.tflite", examples()))
    conv = next(op for op in file.operators if op.name == "CONV_2D")
    tensor = file.tensors[conv.inputs[1]]
    codes = np.frombuffer(tensor.data, "int8").reshape(tensor.shape)
    stored = codes * np.asarray(tensor.scales).reshape(-1, 1, 1, 1)
    ours = round_kernel(model.get_layer("stem").get_weights()[0], (0, 1, 2))
    assert np.allclose(np.moveaxis(stored, 0, -1), ours, atol=1e-6)


def test_replaced_activations() -> None:
    model = network("elu")
    relu = replace_activations(model, {"elu": "relu"})
    data = examples(4)
    assert np.allclose(relu.predict(data, verbose=0), network().predict(data, verbose=0), atol=1e-6)
    layer = keras.Sequential([keras.Input((3,)), layers.Dense(2), layers.ELU()])
    assert replace_activations(layer, {"elu": "relu6"}).layers[-1].activation.__name__ == "relu6"
    with pytest.raises(ValueError, match="has no activation 'gelu'. Available: elu, linear, relu"):
        replace_activations(model, {"gelu": "relu"})
