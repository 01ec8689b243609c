"""The head of a classifier, found behind pooling of either kind, plain and simulating integers."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from keras_dlcourse import layers as kd_layers
from keras_dlcourse.graph.head import POOLINGS, find_head
from keras_dlcourse.layers.compression.compressed import FakeQuantizeWeight, compressed

AVERAGE, MAXIMUM = POOLINGS


def _numbers(tensor) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def model_with(pooling, *, rounded: bool = False) -> keras.Model:
    x = inputs = keras.Input((8, 6, 3))
    x = layers.Conv2D(5, 3, name="last")(x)
    if rounded:
        x = kd_layers.FakeQuantize(ranges=(-9.0, 9.0))(x)
    x = pooling(name="pooled")(x)
    if rounded:
        x = kd_layers.FakeQuantize(ranges=(-9.0, 9.0))(x)
    x = layers.Dense(4, name="scores")(x)
    if rounded:
        x = kd_layers.FakeQuantize(ranges=(-9.0, 9.0))(x)
    model = keras.Model(inputs, layers.Softmax()(x))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=weight.shape) for weight in model.get_weights()])
    return model


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_either_pooling_is_found(pooling, rounded):
    model = model_with(pooling, rounded=rounded)
    head = find_head(model)
    assert type(head.pooling) is pooling
    assert (head.pooling.name, head.classifier.name) == ("pooled", "scores")
    assert (head.activation, head.classes) == ("softmax", 4)
    images = np.random.default_rng(1).normal(size=(2, 8, 6, 3)).astype("float32")
    features = _numbers(head.features([images]))
    reduce = np.mean if pooling is AVERAGE else np.max
    kernel, bias = head.weights()
    logits = reduce(features, axis=(1, 2)) @ kernel + bias
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    expected = powers / powers.sum(-1, keepdims=True)
    tolerance = 0.2 if rounded else 1e-5
    np.testing.assert_allclose(_numbers(model(images)), expected, atol=tolerance)


def test_a_pooling_that_the_caller_cannot_use_is_refused():
    with pytest.raises(ValueError, match="global average pooling and.*GlobalMaxPooling2D 'pooled'"):
        find_head(model_with(MAXIMUM), poolings=(AVERAGE,))
    with pytest.raises(ValueError, match="global maximum pooling and.*GlobalAveragePooling2D"):
        find_head(model_with(AVERAGE), poolings=(MAXIMUM,))
    with pytest.raises(ValueError, match="global average or maximum pooling and one Dense"):
        find_head(keras.Sequential([keras.Input((4, 4, 3)), layers.Conv2D(2, 3)]))


@pytest.mark.parametrize(("pooling", "word"), [(AVERAGE, "the averages"), (MAXIMUM, "the maxima")])
def test_pooling_without_a_classifier_is_said(pooling, word):
    with pytest.raises(ValueError, match=f"no layer that turns {word} into class scores"):
        find_head(keras.Sequential([keras.Input((4, 4, 3)), pooling()]))


def test_weights_are_those_that_a_compressed_layer_computes_with():
    plain = layers.Dense(4, name="scores")
    plain.build((None, 5))
    dense = compressed(plain, {"kernel": [FakeQuantizeWeight(axis=-1)]})
    inputs = keras.Input((8, 6, 5))
    kernel, bias = find_head(keras.Model(inputs, dense(AVERAGE()(inputs)))).weights()
    one_hot = np.eye(5, dtype="float32")
    np.testing.assert_allclose(_numbers(dense(one_hot)), kernel + bias, atol=1e-6)
    assert np.abs(kernel - _numbers(plain.kernel)).max() > 1e-4  # rounding changes it
