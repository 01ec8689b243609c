from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import sparse

from keras_dlcourse.graph import conv_as_dense_matrix, dense_as_conv

L = keras.layers
TENSORFLOW = keras.backend.backend() == "tensorflow"


def _randomised(layer: Any, shape: tuple[int, int, int], seed: int = 0) -> Any:
    layer.build((None, *shape))
    random = np.random.default_rng(seed)
    layer.set_weights([random.normal(size=weight.shape) for weight in layer.get_weights()])
    return layer


def _image(shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def _linear(layer: Any, x: np.ndarray) -> np.ndarray:
    """What a layer without activation makes of one image."""
    return np.asarray(keras.ops.convert_to_numpy(layer(x[None])[0]))


def _assert_same(layer: Any, shape: tuple[int, int, int]) -> Any:
    written, x = conv_as_dense_matrix(layer, shape), _image(shape)
    expected = _linear(layer, x)
    assert written.output_shape == expected.shape
    assert written.matrix.shape == (expected.size, x.size)
    assert isinstance(written.matrix, sparse.csr_array) and written.matrix.dtype == "float32"
    ours = (written.matrix @ x.reshape(-1) + written.bias).reshape(expected.shape)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    return written.matrix


SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))
KERNELS = st.tuples(st.integers(1, 4), st.integers(1, 4))
PADDINGS = st.sampled_from(["valid", "same"])


@given(
    size=SIZES, kernel=KERNELS, groups=st.integers(1, 3), depth=st.integers(1, 2),
    filters=st.integers(1, 2), strides=st.integers(1, 3), dilation=st.integers(1, 3),
    padding=PADDINGS, use_bias=st.booleans(),
)  # fmt: skip
@settings(max_examples=30 if TENSORFLOW else 10)
def test_any_convolution(
    size, kernel, groups, depth, filters, strides, dilation, padding, use_bias
) -> None:
    assume(strides == 1 or dilation == 1)
    reach = [(k - 1) * dilation + 1 for k in kernel]
    assume(padding == "same" or all(n >= r for n, r in zip(size, reach, strict=True)))
    shape = (*size, groups * depth)
    layer = L.Conv2D(
        groups * filters, kernel, strides, padding, dilation_rate=dilation, groups=groups,
        use_bias=use_bias,
    )  # fmt: skip
    matrix = _assert_same(_randomised(layer, shape), shape)
    positions = matrix.shape[0] // (groups * filters)
    most = positions * kernel[0] * kernel[1] * depth * groups * filters
    assert matrix.nnz <= most and (padding == "same" or matrix.nnz == most)
    assert matrix.has_canonical_format


@given(
    size=SIZES, kernel=KERNELS, channels=st.integers(1, 3), multiplier=st.integers(1, 2),
    strides=st.integers(1, 2), dilation=st.integers(1, 2), padding=PADDINGS,
)  # fmt: skip
@settings(max_examples=15 if TENSORFLOW else 6)
def test_any_depthwise_convolution(
    size, kernel, channels, multiplier, strides, dilation, padding
) -> None:
    assume(strides == 1 or dilation == 1)
    reach = [(k - 1) * dilation + 1 for k in kernel]
    assume(padding == "same" or all(n >= r for n, r in zip(size, reach, strict=True)))
    shape = (*size, channels)
    layer = L.DepthwiseConv2D(
        kernel, strides, padding, depth_multiplier=multiplier, dilation_rate=dilation
    )
    matrix = _assert_same(_randomised(layer, shape), shape)
    assert np.diff(matrix.indptr).max() <= kernel[0] * kernel[1]


@given(
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)), kernel=KERNELS,
    channels=st.integers(1, 3), filters=st.integers(1, 3), strides=st.integers(1, 3),
    padding=PADDINGS,
)  # fmt: skip
@settings(max_examples=15 if TENSORFLOW else 6)
def test_any_transposed_convolution(size, kernel, channels, filters, strides, padding) -> None:
    shape = (*size, channels)
    layer = L.Conv2DTranspose(filters, kernel, strides, padding)
    _assert_same(_randomised(layer, shape), shape)


def test_a_transposed_convolution_is_the_transpose() -> None:
    forward = _randomised(L.Conv2D(3, 3, 2, "same", use_bias=False), (8, 6, 2))
    back = _randomised(L.Conv2DTranspose(2, 3, 2, "same", use_bias=False), (4, 3, 3))
    back.set_weights(forward.get_weights())
    there = conv_as_dense_matrix(forward, (8, 6, 2)).matrix
    here = conv_as_dense_matrix(back, (4, 3, 3)).matrix
    assert (here != there.T).nnz == 0


def test_the_same_numbers_in_each_row_shifted() -> None:
    """A block Toeplitz matrix of Toeplitz blocks: a weight depends on where from, seen from where
    to, not on where."""
    layer = _randomised(L.Conv2D(1, (2, 3)), (4, 6, 1))
    matrix = conv_as_dense_matrix(layer, (4, 6, 1)).matrix.toarray()
    blocks = matrix.reshape(3, 4, 4, 6)  # rows of what comes out, columns, rows of the image, ...
    np.testing.assert_array_equal(blocks[:, 1:, :, 1:], blocks[:, :-1, :, :-1])
    np.testing.assert_array_equal(blocks[1:, :, 1:], blocks[:-1, :, :-1])
    np.testing.assert_array_equal(blocks[0, 0, :2, :3], layer.get_weights()[0][..., 0, 0])
    assert np.count_nonzero(matrix) == matrix.shape[0] * 2 * 3


def test_a_dense_layer_is_the_convolution_as_large_as_the_image() -> None:
    dense = L.Dense(5, name="dense")
    model = keras.Sequential([keras.Input((4, 3, 2)), L.Flatten(), dense])
    dense.set_weights([_image((24, 5, 1))[..., 0], np.arange(5.0)])
    written = conv_as_dense_matrix(dense_as_conv(model).get_layer("dense"), (4, 3, 2))
    np.testing.assert_array_equal(written.matrix.toarray(), dense.get_weights()[0].T)
    np.testing.assert_array_equal(written.bias, dense.get_weights()[1])
    assert written.output_shape == (1, 1, 5)


def test_the_activation_is_left_to_the_caller() -> None:
    layer = _randomised(L.Conv2D(2, 3, activation="relu"), (5, 5, 1))
    written, x = conv_as_dense_matrix(layer, (5, 5, 1)), _image((5, 5, 1))
    linear = written.matrix @ x.reshape(-1) + written.bias
    assert linear.min() < 0
    ours = np.maximum(linear, 0).reshape(written.output_shape)
    np.testing.assert_allclose(ours, _linear(layer, x), rtol=1e-5, atol=1e-5)


def test_weights_of_zero_are_written_too() -> None:
    layer = L.Conv2D(1, 2)
    layer.build((None, 3, 3, 1))
    layer.set_weights([np.zeros((2, 2, 1, 1)), np.zeros(1)])
    assert conv_as_dense_matrix(layer, (3, 3, 1)).matrix.nnz == 4 * 4


def test_an_image_of_common_size_is_written_at_once() -> None:
    layer = _randomised(L.Conv2D(16, 3, padding="same"), (32, 32, 16))
    _assert_same(layer, (32, 32, 16))


REFUSED: dict[str, tuple[Any, Any, str]] = {
    "unbuilt": (L.Conv2D(1, 3, name="c"), (4, 4, 1), r"'c' has not been built.*Call it on"),
    "rank": (_randomised(L.Conv2D(1, 3), (4, 4, 1)), (4, 4), r"positive integers.*\(4, 4\)"),
    "open": (_randomised(L.Conv2D(1, 3), (4, 4, 1)), (None, 4, 1), r"\(None, 4, 1\)"),
    "channels": (_randomised(L.Conv2D(1, 3), (4, 4, 2)), (4, 4, 3), "needs 2 channels"),
    "groups": (_randomised(L.Conv2D(4, 3, groups=2), (4, 4, 4)), (4, 4, 2), "needs 4 channels"),
    "transposed": (_randomised(L.Conv2DTranspose(4, 3), (4, 4, 2)), (4, 4, 4), "needs 2 channels"),
    "small": (_randomised(L.Conv2D(1, 3), (4, 4, 1)), (4, 2, 1), "not fit in 4x2 pixels.*larger"),
    "large": (
        _randomised(L.Conv2D(64, 3), (4, 4, 64)), (224, 224, 64), "1,816,[0-9,]* values.*smaller"
    ),
    "output_padding": (
        _randomised(L.Conv2DTranspose(1, 3, 2, output_padding=1), (4, 4, 1)), (4, 4, 1),
        "output_padding",
    ),
    "channels_first": (
        _randomised(L.Conv2D(1, 3, data_format="channels_first"), (1, 4, 4)), (1, 4, 4), "first",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case) -> None:
    layer, shape, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        conv_as_dense_matrix(layer, shape)


@pytest.mark.parametrize("layer", [L.Dense(2), L.SeparableConv2D(2, 3), None])
def test_other_layers_are_refused(layer) -> None:
    with pytest.raises(TypeError, match=f"Received: {type(layer).__name__}"):
        conv_as_dense_matrix(layer, (4, 4, 1))
