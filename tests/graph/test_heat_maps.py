"""Scores at every pixel: strides removed, images shifted and stitched, or heat maps upsampled."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from scipy import ndimage

import keras_dlcourse as kd
from keras_dlcourse.graph.receptive_field import fields
from keras_dlcourse.graph.running import Network

L = keras.layers
CHANNELS = 2


def _images(height: int, width: int, count: int = 2) -> np.ndarray:
    shape = (count, height, width, CHANNELS)
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def _run(model: keras.Model, x: np.ndarray) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(model(x)))


def _open(*layers: Any) -> keras.Model:
    """A network whose biases, means and variances are not those of a fresh one."""
    model = keras.Sequential([keras.Input((None, None, CHANNELS)), *layers], name="net")
    return _randomize(model)


def _randomize(model: keras.Model) -> keras.Model:
    random = np.random.default_rng(0)
    for weight in model.weights:
        if len(weight.shape) == 1:
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        else:
            scale = np.sqrt(2 / np.prod(weight.shape[:-1]))
            weight.assign(random.normal(size=weight.shape) * scale)
    return model


def _assert_close(ours: np.ndarray, expected: np.ndarray) -> None:
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


SIZES = st.tuples(st.integers(1, 3), st.integers(1, 3))
CONVOLUTIONS = st.one_of(
    st.builds(lambda k, s: partial(L.Conv2D, 3, k, s, activation="tanh"), SIZES, SIZES),
    st.builds(lambda k, d: partial(L.Conv2D, 3, k, dilation_rate=d), SIZES, SIZES),
    st.builds(
        lambda k, s, b: partial(L.SeparableConv2D, 3, k, s, use_bias=b),
        st.integers(1, 3),
        st.integers(1, 2),
        st.booleans(),
    ),
    st.builds(lambda k, s: partial(L.DepthwiseConv2D, k, s), st.integers(1, 3), st.integers(1, 2)),
)
POOLINGS = st.builds(
    partial,
    st.sampled_from([L.MaxPooling2D, L.AveragePooling2D]),
    SIZES,
    st.one_of(st.none(), SIZES),
)
NETWORKS = st.tuples(CONVOLUTIONS, POOLINGS, CONVOLUTIONS, POOLINGS, CONVOLUTIONS)


@settings(max_examples=12, deadline=None)
@given(NETWORKS, st.tuples(st.integers(0, 6), st.integers(0, 6)))
def test_shifting_and_removing_strides_are_one_thing(makers: Any, more: tuple[int, int]) -> None:
    model = _open(*(make() for make in makers))
    field = kd.graph.receptive_field(model, model.layers[-1].name, image_size=(999, 999))
    height, width = (size + rest for size, rest in zip(field.size, more, strict=True))
    images = _images(height, width)
    dense = kd.graph.remove_strides(model)
    scores = _run(dense, images)
    assert scores.shape[1:3] == (more[0] + 1, more[1] + 1)
    _assert_close(kd.graph.shift_and_stitch(model, images), scores)
    # Each is the model's output for its own window: the definition.
    y, x = more
    _assert_close(scores[:, y:, x:], _run(model, images[:, y:, x:]))
    rows, columns = map(int, field.stride)
    _assert_close(scores[:, ::rows, ::columns], _run(model, images))
    assert dense.count_params() == model.count_params()


def test_a_classifier_at_each_pixel_is_that_of_its_windows() -> None:
    model = kd.models.LeNet5((32, 32, 1), alpha=0.5)
    slides = kd.graph.dense_as_conv(_randomize(model))
    images = _images(37, 36)[..., :1]
    scores = _run(kd.graph.remove_strides(slides), images)
    windows = [_run(model, images[:, y : y + 32, x : x + 32]) for y in range(6) for x in range(5)]
    _assert_close(scores, np.stack(windows, axis=1).reshape(2, 6, 5, -1))
    _assert_close(kd.graph.shift_and_stitch(slides, images, batch_size=7), scores)


def _residual() -> keras.Model:
    """Shortcuts beside strided convolutions, whose windows must keep their places."""
    inputs = keras.Input((None, None, CHANNELS))
    x = L.ZeroPadding2D(((1, 0), (0, 1)))(inputs)
    x = L.Conv2D(4, 3, 2, name="stem")(x)
    for number in range(2):
        shortcut = L.Conv2D(4, 1, 2, padding="same")(x)
        x = L.Conv2D(4, 3, 2, padding="same", activation="relu")(x)
        x = L.BatchNormalization()(L.DepthwiseConv2D(4, padding="same")(x))
        x = L.Add(name=f"add{number}")([shortcut, x])
    x = L.MaxPooling2D(3, 1, padding="same")(x)
    x = L.AveragePooling2D(2, 1, padding="same")(x)
    return _randomize(keras.Model(inputs, L.Conv2D(3, 1, activation="softmax")(x)))


def test_padded_networks_agree_where_they_see_no_border() -> None:
    model, size = _residual(), (96, 88)
    images = _images(*size, count=1)
    network = Network(model)
    field = fields(network, size)[network.maker(model.outputs[0])]
    strided, stride = _run(model, images), 8
    assert field.stride == (stride, stride)
    dense = kd.graph.remove_strides(model)
    scores, stitched = _run(dense, images), kd.graph.shift_and_stitch(model, images)
    inner = [
        (row, column)
        for row in range(field.positions[0])
        for column in range(field.positions[1])
        if not field.is_clipped(row, column)
    ]
    assert len(inner) > 4
    for row, column in inner:
        here = scores[:, row * stride, column * stride]
        _assert_close(here, strided[:, row, column])
    network = Network(dense)
    near = fields(network, size)[network.maker(dense.outputs[0])]
    assert (near.size, near.start, near.stride) == (field.size, field.start, (1, 1))
    rows, columns = (
        slice(-(first // stride) * stride, pixels - length - first + 1)
        for first, length, pixels in zip(field.start, field.size, size, strict=True)
    )
    _assert_close(scores[:, rows, columns], stitched[:, rows, columns])
    # As the docstring says: what is shifted beyond the border has become zeros.
    assert np.abs(scores[:, 1, 1] - stitched[:, 1, 1]).max() > 1e-3


def test_blocks_are_opened_and_the_copy_is_saved(tmp_path: Any) -> None:
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            kd.layers.InvertedResidual(4, strides=2),
            L.MaxPooling2D(3, 2, padding="same"),
            L.MaxPooling2D(2, name="pool"),
        ]
    )
    dense = kd.graph.remove_strides(model)
    pool = dense.get_layer("pool")
    assert (pool.kind, pool.pool_size, pool.dilation_rate) == ("maximum", (2, 2), (4, 4))
    dense.save(tmp_path / "dense.keras")
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 3))
    loaded = keras.models.load_model(tmp_path / "dense.keras")
    _assert_close(_run(loaded, images), _run(dense, images))


def test_a_shared_layer_stays_shared_if_all_its_maps_have_one_stride() -> None:
    inputs = keras.Input((None, None, CHANNELS))
    shared, relu = L.Conv2D(CHANNELS, 3, padding="same", name="shared"), L.ReLU()
    x = relu(L.MaxPooling2D(2)(relu(inputs)))  # a layer without a window may be at any stride
    twice = keras.Model(inputs, shared(shared(x)))
    dense = kd.graph.remove_strides(twice)
    assert dense.count_params() == twice.count_params()
    wrong = keras.Model(inputs, shared(L.MaxPooling2D(2)(shared(inputs))))
    with pytest.raises(ValueError, match=r"'shared' .*different strides, \[\(1, 1\), \(2, 2\)\]"):
        kd.graph.remove_strides(wrong)


def _joined() -> keras.Model:
    inputs = keras.Input((8, 8, CHANNELS))
    halves = L.MaxPooling2D(2)(inputs), L.Resizing(4, 4)(inputs)
    return keras.Model(inputs, L.Add(name="sum")(halves))


def _branches() -> keras.Model:
    inputs = keras.Input((9, 9, CHANNELS))
    one, other = L.Conv2D(2, 3, 3)(inputs), L.Conv2D(2, 7)(inputs)
    return keras.Model(inputs, L.Add(name="sum")([one, other]))


REFUSED = {
    "classifier": (lambda: kd.models.LeNet5((32, 32, 1)), r"\(10,\).*dense_as_conv"),
    "enlarging": (lambda: _open(L.MaxPooling2D(2), L.UpSampling2D(name="up")), "'up'.*dilated"),
    "resizing": (_joined, "'resizing.*' .Resizing. cannot be dilated"),
    "strides": (_branches, r"'sum'.*different strides, \[\(1, 1\), \(3, 3\)\]"),
    "filter": (
        lambda: _open(L.MaxPooling2D(2), kd.layers.RankFilter2D(name="median")),
        "'median'.*Supported are conv",
    ),
    "first": (
        lambda: keras.Sequential(
            [keras.Input((4, 9, 9)), L.MaxPooling2D(2, data_format="channels_first", name="p")]
        ),
        "'p'.*channels first",
    ),
    "sizes": (
        lambda: keras.Sequential([keras.Input((9, 9, 2)), L.MaxPooling2D(2), L.PReLU(name="own")]),
        "'own' .PReLU. has weights of its own for each pos",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_networks_are_refused(name: str) -> None:
    build, message = REFUSED[name]
    with pytest.raises(ValueError, match=f"(?s)remove_strides.*{message}"):
        kd.graph.remove_strides(build())


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_upsampling_puts_scores_at_the_centers_of_their_windows(interpolation: str) -> None:
    model = _open(L.Conv2D(3, 3), L.MaxPooling2D(2), L.Conv2D(2, 2))  # 6 pixels every 2
    images = _images(15, 18)
    maps = _run(model, images)
    upsampled = kd.graph.upsample_scores(model, images, interpolation)
    assert upsampled.shape == (2, 15, 18, 2)
    places = np.meshgrid(*((np.arange(size) - 2.5) / 2 for size in (15, 18)), indexing="ij")
    if interpolation == "nearest":
        places = [np.floor(place + 0.5) for place in places]
    for image, channel in np.ndindex(2, 2):
        expected = ndimage.map_coordinates(
            maps[image, ..., channel], places, order=1, mode="nearest"
        )
        _assert_close(upsampled[image, ..., channel], expected.astype("float32"))


def test_upsampled_dense_scores_are_the_dense_scores() -> None:
    model = _open(L.Conv2D(3, 3, 2), L.MaxPooling2D(2))
    images = _images(13, 12)
    dense = kd.graph.remove_strides(model)
    upsampled = kd.graph.upsample_scores(dense, images)
    scores = _run(dense, images)  # 5 pixels: 2 before each
    _assert_close(upsampled[:, 2:-2, 2:-2], scores)
    _assert_close(upsampled[:, 0, 0], scores[:, 0, 0])


@pytest.mark.parametrize("function", [kd.graph.shift_and_stitch, kd.graph.upsample_scores])
def test_what_has_no_heat_maps_is_refused(function: Any) -> None:
    name, images = function.__name__, _images(16, 16)
    with pytest.raises(ValueError, match=rf"{name}: images must be \(n, height, width, 2\).*\(16"):
        function(_open(L.MaxPooling2D(2)), images[0])
    with pytest.raises(ValueError, match=f"{name}.*whole number of pixels.*enlarges"):
        function(_open(L.Conv2D(3, 3), L.UpSampling2D(2)), images)
    whole = _open(kd.layers.SqueezeExcite(1, name="all"))
    with pytest.raises(ValueError, match=f"{name}.*layer 'all_pool' sees the whole.*dense_as_conv"):
        function(whole, images)
    with pytest.raises(ValueError, match=rf"{name}: .*maps \(rows, columns.*dense_as_conv"):
        function(kd.models.LeNet5((32, 32, 1)), images[..., :1])
    small = _open(L.Conv2D(3, 3), L.MaxPooling2D(2), L.Conv2D(3, 9, name="wide"))
    with pytest.raises(ValueError, match="'wide', .* the 7x7 maps .*image of 16x16 pixels"):
        function(small, images)
    with pytest.raises(TypeError, match="model must be a keras.Model"):
        function("net", images)


def test_shifting_needs_a_network_for_any_size_and_upsampling_a_known_interpolation() -> None:
    fixed = keras.Sequential([keras.Input((16, 16, CHANNELS)), L.MaxPooling2D(2)])
    with pytest.raises(ValueError, match=r"any size. Received: a model for \(16, 16, 2\)"):
        kd.graph.shift_and_stitch(fixed, _images(16, 16))
    with pytest.raises(ValueError, match="interpolation must be one of 'nearest', 'bilinear'"):
        kd.graph.upsample_scores(fixed, _images(16, 16), "cubic")
