from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_references import depthwise, normalized, pointwise, random_weights, relu6

from keras_dlcourse.layers import DepthwiseSeparableConv2D


def _images(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype("float32")


@settings(max_examples=12, deadline=None)
@given(
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    channels=st.integers(1, 3),
    filters=st.integers(1, 4),
    kernel_size=st.integers(1, 5),
    strides=st.integers(1, 3),
)
def test_equals_loops_over_every_pixel(
    height, width, channels, filters, kernel_size, strides
) -> None:
    block = DepthwiseSeparableConv2D(filters, kernel_size, strides, bn_epsilon=0.01)
    images = _images(2, height, width, channels)
    outputs = block(images)
    weights = random_weights(block)
    block.set_weights(weights)
    outputs = keras.ops.convert_to_numpy(block(images))
    kernels, matrix = weights[0][..., 0], weights[5][0, 0]
    hidden = relu6(normalized(depthwise(images, kernels, strides), weights[1:5], 0.01))
    expected = relu6(normalized(pointwise(hidden, matrix), weights[6:10], 0.01))
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4)


def test_the_depthwise_step_mixes_no_channels_and_the_pointwise_step_no_places() -> None:
    """The Jacobian between channels is zero off the diagonal, shown by changing one channel."""
    block = DepthwiseSeparableConv2D(4)
    images = _images(1, 5, 5, 3)
    block(images)
    block.set_weights(random_weights(block))
    for channel in range(3):
        changed = images.copy()
        changed[..., channel] += 1.0
        moved = np.abs(
            keras.ops.convert_to_numpy(block.depthwise(changed) - block.depthwise(images))
        ).max(axis=(0, 1, 2))
        assert moved[channel] > 0.1
        assert (np.delete(moved, channel) == 0).all()
    changed = images.copy()
    changed[0, 2, 3] += 1.0
    moved = np.abs(
        keras.ops.convert_to_numpy(block.pointwise(changed) - block.pointwise(images))
    ).max(axis=-1)[0]
    assert moved[2, 3] > 0.1
    moved[2, 3] = 0
    assert (moved == 0).all()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="uses TensorFlow's tape")
def test_cross_channel_gradient_of_the_depthwise_step_is_zero() -> None:
    import tensorflow as tf

    block = DepthwiseSeparableConv2D(2)
    images = tf.constant(_images(2, 6, 6, 3))
    block(images)
    block.set_weights(random_weights(block))
    for channel in range(3):
        with tf.GradientTape() as tape:
            tape.watch(images)
            output = tf.reduce_sum(block.depthwise(images)[..., channel] ** 2)
        sizes = np.abs(tape.gradient(output, images)).max(axis=(0, 1, 2))
        assert sizes[channel] > 0.1
        assert (np.delete(sizes, channel) == 0).all()


def test_costs_what_the_paper_says() -> None:
    """There are k * k * M + M * N weights, against k * k * M * N of a plain convolution."""
    block = DepthwiseSeparableConv2D(64, kernel_size=3)
    block.build((None, 8, 8, 32))
    convolutions = [weight for weight in block.weights if len(weight.shape) == 4]
    assert sum(int(np.prod(weight.shape)) for weight in convolutions) == 9 * 32 + 32 * 64
    assert [weight.name for weight in convolutions] == ["kernel", "kernel"]


def test_moving_statistics_follow_the_momentum() -> None:
    block = DepthwiseSeparableConv2D(3, bn_momentum=0.75)
    images = _images(4, 6, 6, 2) * 3 + 5
    block(images)
    before = keras.ops.convert_to_numpy(block.depthwise(images)).mean(axis=(0, 1, 2))
    block(images, training=True)
    moved = keras.ops.convert_to_numpy(block.depthwise_bn.moving_mean)
    np.testing.assert_allclose(moved, 0.25 * before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"filters": 0}, ValueError, "filters must be an integer of at least 1. Received: 0"),
        ({"filters": 2.5}, TypeError, "filters.*2.5"),
        ({"filters": True}, TypeError, "filters.*True"),
        ({"kernel_size": (3, 3)}, TypeError, r"kernel_size.*\(3, 3\)"),
        ({"strides": 0}, ValueError, "strides.*0"),
        (
            {"bn_momentum": 1.0},
            ValueError,
            "bn_momentum must be a number of at least 0 and below 1. Received: 1.0",
        ),
        ({"bn_momentum": "0.9"}, TypeError, "bn_momentum.*'0.9'"),
        (
            {"bn_epsilon": 0.0},
            ValueError,
            "bn_epsilon must be a finite number above 0. Received: 0.0",
        ),
        ({"bn_epsilon": float("inf")}, ValueError, "bn_epsilon.*inf"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        DepthwiseSeparableConv2D(**{"filters": 4, **arguments})


def test_unknown_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="number of input channels"):
        DepthwiseSeparableConv2D(4).build((None, 8, 8, None))


def test_other_channels_than_at_first_are_refused() -> None:
    block = DepthwiseSeparableConv2D(4)
    block(_images(1, 5, 5, 3))
    with pytest.raises(ValueError, match="3"):
        block(_images(1, 5, 5, 2))
    with pytest.raises(ValueError, match="ndim"):
        DepthwiseSeparableConv2D(4)(_images(5, 5, 3))
