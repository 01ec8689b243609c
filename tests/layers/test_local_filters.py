"""Local filters against SciPy's, on images, kernels and windows of any size."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, signal

import keras_dlcourse as kd
from keras_dlcourse.layers import LocalFilter2D, RankFilter2D
from keras_dlcourse.layers.filtering.local_filter import FIXED, SIZED

SIDES = st.integers(1, 6)
FLIPS = pytest.mark.parametrize("flip", [False, True])
KERNELS_OF_TWO_CHANNELS = np.random.default_rng(5).normal(size=(3, 2, 2))


def _images(height, width, channels=2, seed=0):
    return np.random.default_rng(seed).normal(size=(2, height, width, channels)).astype("float32")


def _filtered(layer, images):
    return keras.ops.convert_to_numpy(layer(images))


def _by_channel(function, images, *arguments, **options):
    """Apply a function of two-dimensional images to each image and channel."""
    maps = [[function(channel, *arguments, **options) for channel in np.moveaxis(image, -1, 0)]
            for image in images.astype("float64")]  # fmt: skip
    return np.moveaxis(np.array(maps), 1, -1)


@FLIPS
@settings(max_examples=min(25, settings.default.max_examples))
@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), st.integers(0, 99))
def test_linear_filters_are_those_of_ndimage(flip, image, window, seed):
    """Even kernels and kernels larger than the image, too."""
    images, kernel = _images(*image, seed=seed), np.random.default_rng(seed).normal(size=window)
    expected = _by_channel(
        ndimage.convolve if flip else ndimage.correlate, images, kernel, mode="constant"
    )
    found = _filtered(LocalFilter2D(kernel, flip=flip), images)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@FLIPS
@settings(max_examples=min(25, settings.default.max_examples))
@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), st.integers(0, 99))
def test_valid_filters_are_those_of_signal(flip, more, window, seed):
    images = _images(*(np.add(more, window) - 1), seed=seed)
    kernel = np.random.default_rng(seed).normal(size=window)
    # `signal` lets the larger one slide over the smaller one otherwise.
    expected = _by_channel(
        signal.convolve2d if flip else signal.correlate2d, images, kernel, mode="valid"
    )
    found = _filtered(LocalFilter2D(kernel, flip=flip, padding="valid"), images)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@FLIPS
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_kernel_for_each_channel_is_summed(flip, padding):
    images = _images(6, 5)
    parts = [
        _filtered(LocalFilter2D(KERNELS_OF_TWO_CHANNELS[..., channel], flip=flip, padding=padding),
                  images[..., channel : channel + 1])
        for channel in range(2)
    ]  # fmt: skip
    layer = LocalFilter2D(KERNELS_OF_TWO_CHANNELS, flip=flip, sum_channels=True, padding=padding)
    np.testing.assert_allclose(_filtered(layer, images), sum(parts), atol=1e-5)


@pytest.mark.parametrize("name", [*SIZED, *FIXED])
def test_one_kernel_for_all_channels_is_summed(name):
    images = _images(6, 5, 3)
    expected = _filtered(LocalFilter2D(name), images).sum(-1, keepdims=True)
    found = _filtered(LocalFilter2D(name, sum_channels=True), images)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("name", [*SIZED, *FIXED])
def test_names_are_what_they_say(name):
    kernel = LocalFilter2D(name)._numbers
    keeps_brightness = name in ("box", "gaussian", "identity", "sharpen", "emboss")
    assert kernel.shape == (3, 3) and kernel.sum() == pytest.approx(float(keeps_brightness))
    turned, images = kernel[::-1, ::-1], _images(6, 5)
    found, flipped = (_filtered(LocalFilter2D(name, flip=flip), images) for flip in (False, True))
    if np.array_equal(kernel, turned):
        np.testing.assert_array_equal(flipped, found)
    elif name != "emboss":  # a slope changes its sign
        np.testing.assert_allclose(flipped, -found, atol=1e-5)
    if name.endswith("_y"):
        np.testing.assert_array_equal(kernel.T, LocalFilter2D(f"{name[:-1]}x")._numbers)


@pytest.mark.parametrize(
    ("name", "function", "options"),
    [
        ("sobel_x", ndimage.sobel, {"axis": 1}),
        ("sobel_y", ndimage.sobel, {"axis": 0}),
        ("prewitt_x", ndimage.prewitt, {"axis": 1}),
        ("laplacian", ndimage.laplace, {}),
    ],
)
def test_fixed_kernels_are_those_of_scipy(name, function, options):
    images = _images(6, 5)
    expected = _by_channel(function, images, mode="constant", **options)
    np.testing.assert_allclose(_filtered(LocalFilter2D(name), images), expected, atol=1e-5)


@pytest.mark.parametrize("size", [1, 4, 7])
def test_sized_kernels_are_those_of_scipy(size):
    images = _images(9, 8)
    expected = _by_channel(ndimage.uniform_filter, images, size, mode="constant")
    np.testing.assert_allclose(_filtered(LocalFilter2D("box", size), images), expected, atol=1e-5)
    if size % 2:
        for sigma in (None, 0.9):
            deviation = sigma or 0.3 * ((size - 1) / 2 - 1) + 0.8
            expected = _by_channel(
                ndimage.gaussian_filter, images, deviation, mode="constant", radius=size // 2
            )
            found = _filtered(LocalFilter2D("gaussian", size, sigma), images)
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_sobel_finds_where_an_edge_is_and_which_way_it_goes():
    image = np.zeros((1, 8, 8, 1), "float32")
    image[:, :, 5:] = 1
    slope_x, slope_y = (
        _filtered(LocalFilter2D(name, padding="valid"), image)[0, ..., 0]
        for name in ("sobel_x", "sobel_y")
    )
    assert (slope_y == 0).all()
    assert np.unique(np.nonzero(slope_x)[1] + 1).tolist() == [4, 5]  # both sides of the edge
    assert (slope_x >= 0).all() and slope_x.max() == 4


def test_pixels_may_be_whole_numbers():
    pixels = np.random.default_rng(0).integers(0, 256, (1, 6, 5, 2), "uint8")
    for layer in (LocalFilter2D("box"), RankFilter2D("minimum")):
        found, expected = _filtered(layer, pixels), _filtered(layer, pixels.astype("float32"))
        assert found.dtype == "float32"
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", ["median", "minimum", "maximum"])
@settings(max_examples=20)
@given(st.tuples(SIDES, SIDES), st.integers(1, 5), st.integers(0, 99))
def test_rank_filters_are_those_of_ndimage(kind, image, size, seed):
    """Even windows, windows larger than the image, and images with equal pixels, too."""
    images = np.random.default_rng(seed).integers(-4, 5, (2, *image, 2)).astype("float32")
    expected = _by_channel(getattr(ndimage, f"{kind}_filter"), images, size, mode="nearest")
    np.testing.assert_array_equal(_filtered(RankFilter2D(kind, size), images), expected)
    if size <= min(image):
        before, behind = size // 2, (size - 1) // 2
        inner = expected[:, before : image[0] - behind, before : image[1] - behind]
        found = _filtered(RankFilter2D(kind, size, padding="valid"), images)
        np.testing.assert_array_equal(found, inner)


def _errors(noisy, clean):
    """Return the mean error of noisy images, of their median and of their mean."""
    inner = np.s_[:, 1:-1, 1:-1]  # the mean sees dark pixels beyond the border
    images = noisy, *(_filtered(f, noisy) for f in (RankFilter2D("median"), LocalFilter2D("box")))
    return [float(np.abs(image - clean)[inner].mean()) for image in images]


def test_the_median_takes_salt_and_pepper_away_and_the_mean_smears_it():
    clean = np.full((1, 32, 32, 1), 60, "float32")
    clean[:, :, 16:] = 180
    rng = np.random.default_rng(0)
    wrong = rng.choice([0, 255], clean.shape).astype("float32")
    # One wrong pixel in each window: all are gone, and the edge is as sharp as it was.
    noisy = clean.copy()
    noisy[:, 2::4, 2::4] = wrong[:, 2::4, 2::4]
    np.testing.assert_array_equal(_filtered(RankFilter2D("median"), noisy), clean)
    before, median, mean = _errors(noisy, clean)
    assert median == 0 < before < mean
    # Three in twenty at random: only a few stay, where most of a window is wrong in one direction.
    noisy = np.where(rng.random(clean.shape) < 0.15, wrong, clean)
    before, median, mean = _errors(noisy, clean)
    assert 0 < median < before / 10 and mean > before / 2


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="exports")
def test_all_are_integer_in_an_int8_file(tmp_path):
    inputs = keras.Input((9, 8, 2))
    filters = [LocalFilter2D("sobel_x"), LocalFilter2D([[0.3, 0.7]], sum_channels=True)]
    filters += [RankFilter2D(kind) for kind in ("median", "minimum", "maximum")]
    maps = keras.layers.Concatenate()([layer(inputs) for layer in filters])
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(maps))
    images = _images(9, 8).repeat(50, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # which says what stays in float
        kd.export.to_tflite(
            model, tmp_path / "model.tflite", quantization="int8", calibration=images
        )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"kernel": "sobel"},
            ValueError,
            "kernel must be one of 'box', 'gaussian', .*'sobel_x'.*'sobel'",
        ),
        ({"kernel": "sobel_x", "size": 5}, ValueError, "'sobel_x' is 3x3. Omit size.*size=5"),
        (
            {"kernel": "box", "sigma": 2.0},
            ValueError,
            "sigma is for kernel='gaussian' only.*'box'.*sigma=2.0",
        ),
        (
            {"kernel": [[1, 2]], "size": 5},
            ValueError,
            "kernel values define their own size.*size=5",
        ),
        ({"kernel": [[1, 2]], "sigma": 1}, ValueError, "Omit both.*sigma=1.0"),
        ({"kernel": [[1, 2], [3]]}, ValueError, "rows of equal length"),
        ({"kernel": [1, 2]}, ValueError, "finite numbers .height, width."),
        ({"kernel": [[]]}, ValueError, "finite numbers"),
        ({"kernel": [["a"]]}, ValueError, "finite numbers"),
        ({"kernel": [[float("nan")]]}, ValueError, "finite numbers.*nan"),
        ({"kernel": KERNELS_OF_TWO_CHANNELS}, ValueError, "needs sum_channels=True.*3, 2, 2"),
        ({"size": 0}, ValueError, "size must be an integer"),
        ({"sigma": -1}, ValueError, "sigma must be a finite number above 0"),
        ({"flip": "yes"}, TypeError, "flip must be True or False"),
        ({"sum_channels": None}, TypeError, "sum_channels must be True or False"),
        ({"padding": "full"}, ValueError, "padding must be one of 'same', 'valid'"),
    ],
)
def test_wrong_linear_filters(arguments, error, message):
    with pytest.raises(error, match=message):
        LocalFilter2D(**arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"kind": "mean"}, ValueError, "kind must be one of 'median', 'minimum', 'maximum'"),
        ({"size": 2.5}, TypeError, "size must be an integer"),
        ({"padding": "constant"}, ValueError, "padding must be one of"),
    ],
)
def test_wrong_rank_filters(arguments, error, message):
    with pytest.raises(error, match=message):
        RankFilter2D(**arguments)


def test_inputs_that_do_not_fit():
    with pytest.raises(ValueError, match="kernel has 2 channels, but the input has 3"):
        LocalFilter2D(KERNELS_OF_TWO_CHANNELS, sum_channels=True)(_images(6, 5, 3))
    for layer in (LocalFilter2D("box", 4, padding="valid"), RankFilter2D(size=4, padding="valid")):
        with pytest.raises(ValueError, match="no output for maps of 6x3 and a window of 4x4"):
            layer(_images(6, 3))
