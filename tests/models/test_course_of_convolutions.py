"""What the course says about convolutional networks, each sentence against loops in NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

import keras_dlcourse as kd
from keras_dlcourse import backend

SIDES = st.tuples(st.integers(4, 8), st.integers(4, 8))
WINDOWS = st.tuples(st.integers(1, 4), st.integers(1, 4))
PADDINGS = pytest.mark.parametrize("padding", ["valid", "same"])
few = settings(max_examples=8 if keras.backend.backend() == "jax" else 20)  # each is compiled there


def _images(sides, channels=2, seed=0):
    return np.random.default_rng(seed).normal(size=(2, *sides, channels)).astype("float32")


def _numpy(tensor):
    return ops.convert_to_numpy(tensor)


def _gradient(function, *arrays):
    """Return the gradient by the first array of a scalar function, and what else that returns."""
    slope, aside = backend.gradient(function)(*map(ops.convert_to_tensor, arrays))
    return _numpy(slope), aside


def _starts(size, window, stride, padding):
    """Return the first pixel of each window along an axis: below 0 it lies in the padding."""
    if padding == "valid":
        return range(0, size - window + 1, stride)
    count = -(-size // stride)
    before = max((count - 1) * stride + window - size, 0) // 2
    return range(-before, count * stride - before, stride)


def _windows(sides, window, stride, padding):
    """Yield the place in the output and the box (two slices) of each window inside of the image."""
    rows, columns = (_starts(*pair, stride, padding) for pair in zip(sides, window, strict=True))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            box = (slice(max(start, 0), start + reach)
                   for start, reach in zip((row, column), window, strict=True))  # fmt: skip
            yield (i, j), tuple(box)


def _patches(images, window, stride, padding):
    """Return what each window holds, 0 beyond the border: (batch, rows, columns, pixels)."""
    sides = images.shape[1:3]
    margin = max(window)
    wide = np.pad(images, [(0, 0), (margin, margin), (margin, margin), (0, 0)])
    rows, columns = (_starts(*pair, stride, padding) for pair in zip(sides, window, strict=True))
    found = [
        [wide[:, margin + row :, margin + column :][:, : window[0], : window[1]].reshape(2, -1)
         for column in columns]
        for row in rows
    ]  # fmt: skip
    return np.array(found).transpose(2, 0, 1, 3)


@PADDINGS
@few
@given(SIDES, WINDOWS, st.integers(1, 3), st.integers(0, 99))
def test_a_stride_is_subsampling_after_stride_one(padding, sides, window, stride, seed):
    """Every `stride`-th position: from the first one on, or with "same" from where the paddings
    of the two differ, `(window - 1) // 2` less the padding before the image under that stride."""
    images = _images(sides, seed=seed)
    layer = keras.layers.Conv2D(3, window, strides=stride, padding=padding)
    found = _numpy(layer(images))
    kernel = _numpy(layer.kernel).reshape(-1, 3)
    dense = _patches(images, window, 1, padding) @ kernel
    first = [0, 0]
    if padding == "same":
        first = [(w - 1) // 2 + _starts(s, w, stride, "same")[0]
                 for s, w in zip(sides, window, strict=True)]  # fmt: skip
    expected = dense[:, first[0] :: stride, first[1] :: stride]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@PADDINGS
@pytest.mark.parametrize("kind", ["Max", "Average"])
@few
@given(SIDES, WINDOWS, st.integers(1, 3), st.integers(0, 99))
def test_pooling_with_any_stride(kind, padding, sides, window, stride, seed):
    """The mean at the border is that of the pixels that are there."""
    if (kind, padding, keras.backend.backend()) == ("Average", "same", "torch"):
        pytest.skip("Keras 3.15.1 counts repeated pixels there")
    images = _images(sides, seed=seed)
    layer = getattr(keras.layers, f"{kind}Pooling2D")(window, stride, padding)
    expected = np.zeros(layer.compute_output_shape(images.shape))
    reduce = np.max if kind == "Max" else np.mean
    for (i, j), (rows, columns) in _windows(sides, window, stride, padding):
        expected[:, i, j] = reduce(images[:, rows, columns], axis=(1, 2))
    found = _numpy(layer(images))
    assert found.shape == expected.shape
    assert stride > 1 or padding == "valid" or found.shape == images.shape
    np.testing.assert_allclose(found, expected, atol=1e-6)


@PADDINGS
@few
@given(SIDES, WINDOWS, st.integers(1, 3), st.integers(0, 99))
def test_the_gradient_of_max_pooling_goes_to_the_maximum(padding, sides, window, stride, seed):
    """Each window sends all that it is sent to the place of its maximum, and nothing elsewhere."""
    images = _images(sides, seed=seed)
    rng = np.random.default_rng(seed)

    def pooled(x):
        return ops.max_pool(x, window, stride, padding)

    upstream = rng.normal(size=pooled(images).shape).astype("float32")
    found, _ = _gradient(lambda x, sent: (ops.sum(pooled(x) * sent), ()), images, upstream)
    expected = np.zeros_like(images)
    for (i, j), box in _windows(sides, window, stride, padding):
        for image, channel in np.ndindex(2, 2):
            seen = images[image, ..., channel][box]
            target = expected[image, ..., channel][box]
            target[np.unravel_index(seen.argmax(), seen.shape)] += upstream[image, i, j, channel]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_of_equal_maxima_one_gets_the_gradient():
    images = np.ones((1, 6, 4, 1), "float32")
    found, _ = _gradient(lambda x: (ops.sum(ops.max_pool(x, 2, 2)), ()), images)
    by_window = found.reshape(3, 2, 2, 2).swapaxes(1, 2).reshape(-1, 4)
    np.testing.assert_array_equal(np.sort(by_window), [[0, 0, 0, 1]] * 6)


@PADDINGS
@few
@given(SIDES, WINDOWS, st.integers(1, 3), st.integers(0, 99))
def test_the_gradient_of_a_shared_weight_is_the_sum(padding, sides, window, stride, seed):
    """Over the copies of it, one a position, that a layer without sharing would have."""
    images = _images(sides, seed=seed)
    rng = np.random.default_rng(seed)
    patches = _patches(images, window, stride, padding)
    patches = patches.reshape(2, -1, patches.shape[-1])  # (batch, position, pixel)
    kernel = rng.normal(size=(*window, 2, 3)).astype("float32")
    copies = np.repeat(kernel.reshape(1, -1, 3), patches.shape[1], axis=0)
    upstream = rng.normal(size=(2, patches.shape[1], 3)).astype("float32")

    def loss(outputs, sent):
        outputs = ops.reshape(outputs, (2, -1, 3))
        return ops.sum(ops.square(outputs) * sent), ops.stop_gradient(outputs)

    shared, outputs = _gradient(
        lambda weights, x, sent: loss(ops.conv(x, weights, stride, padding), sent),
        kernel, images, upstream,
    )  # fmt: skip
    unshared, same = _gradient(
        lambda weights, x, sent: loss(ops.einsum("npk,pkf->npf", x, weights), sent),
        copies, patches, upstream,
    )  # fmt: skip
    np.testing.assert_allclose(_numpy(outputs), _numpy(same), atol=1e-4)
    total = np.zeros_like(kernel)
    for position in range(len(copies)):  # each by the chain rule
        inner = 2 * (patches[:, position] @ copies[position]) * upstream[:, position]
        by_hand = patches[:, position].T @ inner
        np.testing.assert_allclose(unshared[position], by_hand, atol=1e-3)
        total += by_hand.reshape(kernel.shape)
    np.testing.assert_allclose(shared, total, atol=1e-3)


@few
@given(SIDES, st.integers(1, 4))
def test_global_average_pooling_is_a_constant_block_matrix(sides, channels):
    """Of the maps flattened one channel after the other."""
    images = _images(sides, channels)
    pixels = sides[0] * sides[1]
    matrix = np.zeros((channels * pixels, channels))
    for channel in range(channels):
        matrix[channel * pixels : (channel + 1) * pixels, channel] = 1 / pixels
    flat = np.moveaxis(images, -1, 1).reshape(2, -1)
    layer = keras.layers.GlobalAveragePooling2D()
    np.testing.assert_allclose(_numpy(layer(images)), flat @ matrix, atol=1e-5)
    assert layer.count_params() == 0


@PADDINGS
@few
@given(SIDES, st.integers(1, 4), st.integers(1, 3), st.integers(0, 99))
def test_an_mlp_convolution_is_dense_layers_slid_over_the_image(
    padding, sides, window, stride, seed
):
    images = _images(sides, seed=seed)
    layer = kd.layers.MLPConv2D((5, 4, 3), window, stride, padding)
    found = _numpy(layer(images))
    mlp = keras.Sequential([keras.layers.Dense(units, "relu") for units in (5, 4, 3)])
    patches = _patches(images, (window, window), stride, padding)
    mlp.build((None, patches.shape[-1]))
    mlp.set_weights([
        new.reshape(old.shape)
        for new, old in zip(layer.get_weights(), mlp.get_weights(), strict=True)
    ])  # fmt: skip
    expected = _numpy(mlp(patches.reshape(-1, patches.shape[-1])))
    np.testing.assert_allclose(found, expected.reshape(found.shape), atol=1e-5)


@few
@given(WINDOWS, st.integers(1, 6), st.integers(1, 6))
def test_a_convolution_has_a_weight_for_each_pixel_and_channel(window, channels, filters):
    """And a bias for each filter."""
    layer = keras.layers.Conv2D(filters, window)
    layer.build((None, None, None, channels))
    assert layer.count_params() == window[0] * window[1] * channels * filters + filters


def _stack(channels, *windows):
    inputs = keras.Input((15, 15, channels))
    x = inputs
    for window in windows:
        x = keras.layers.Conv2D(channels, window, padding="same", use_bias=False)(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize("channels", [1, 4])
def test_three_small_convolutions_see_as_much_as_a_large_one_with_fewer_weights(channels):
    small, large = _stack(channels, 3, 3, 3), _stack(channels, 7)
    assert small.count_params() == 27 * channels**2
    assert large.count_params() == 49 * channels**2
    fields = [kd.explain.receptive_field(m, m.layers[-1].name) for m in (small, large)]
    assert [(field.size, field.stride, field.start) for field in fields] == [
        ((7, 7), (1, 1), (-3, -3))
    ] * 2
