from __future__ import annotations

import keras
import numpy as np
import pytest
from layer_references import depthwise, normalized, pointwise, random_weights, relu6

from keras_dlcourse.layers import InvertedResidual


def _images(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype("float32")


@pytest.mark.parametrize("expansion", [1, 3])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("filters", [2, 5])
@pytest.mark.parametrize("shape", [(6, 5, 2), (4, 4, 2)])
def test_equals_loops_over_every_pixel(expansion, strides, filters, shape) -> None:
    block = InvertedResidual(filters, expansion, strides=strides)
    images = _images(2, *shape)
    block(images)
    weights = random_weights(block)
    block.set_weights(weights)
    hidden = images.astype("float64")
    if expansion > 1:
        hidden = relu6(normalized(pointwise(hidden, weights[0][0, 0]), weights[1:5]))
        weights = weights[5:]
    hidden = relu6(normalized(depthwise(hidden, weights[0][..., 0], strides), weights[1:5]))
    expected = normalized(pointwise(hidden, weights[5][0, 0]), weights[6:10])
    if strides == 1 and filters == 2:
        expected = expected + images
    outputs = keras.ops.convert_to_numpy(block(images))
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize(
    ("filters", "strides", "expected"), [(8, 1, True), (8, 2, False), (9, 1, False)]
)
def test_shortcut_only_where_nothing_changes_size(filters, strides, expected) -> None:
    block = InvertedResidual(filters, strides=strides)
    block.build((None, 8, 8, 8))
    assert block.has_shortcut is expected


def test_a_block_that_adds_nothing_is_the_identity() -> None:
    """With gamma and beta of the projection at zero, only the shortcut is left."""
    block = InvertedResidual(3)
    images = _images(2, 5, 5, 3)
    block(images)
    block.project_bn.gamma.assign(np.zeros(3))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(block(images)), images)


def test_the_projection_is_linear() -> None:
    """Outputs below 0 and above 6 get through: no ReLU6 behind the bottleneck."""
    block = InvertedResidual(3, strides=2)
    images = 4 * _images(4, 6, 6, 3)
    block(images)
    block.set_weights(random_weights(block))
    outputs = keras.ops.convert_to_numpy(block(images))
    assert outputs.min() < -1 and outputs.max() > 7


def test_trainable_can_be_set_before_and_after_building() -> None:
    block = InvertedResidual(3)
    block.trainable = False
    block(_images(1, 4, 4, 3))
    assert not any(weight.trainable for weight in block.weights)
    block.trainable = True
    # The moving mean and variance of three normalizations are never trained.
    assert len(block.trainable_weights) == len(block.weights) - 6


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"filters": -3}, ValueError, "filters.*-3"),
        ({"expansion": 0}, ValueError, "expansion must be an integer of at least 1. Received: 0"),
        ({"expansion": 1.5}, TypeError, "expansion.*1.5"),
        ({"strides": None}, TypeError, "strides.*None"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        InvertedResidual(**{"filters": 4, **arguments})
