from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_dlcourse.edge import Normalization
from keras_dlcourse.edge.tflite.graph import Tensor
from keras_dlcourse.edge.tflite.quantization import dequantize, encoder, pixel_table, quantize

PIXELS = np.arange(256, dtype="uint8")


def tensor(dtype: str, scale: float | None, zero_point: int = 0, channels: int = 1) -> Tensor:
    quantized = ((), ()) if scale is None else ((scale,), (zero_point,))
    shape = (1, 1, 256, channels)
    return Tensor(0, "image", shape, shape, dtype, *quantized, 0, 0, memoryview(b""), False)


@given(mean=st.integers(0, 255), std=st.floats(1, 200))
def test_all_pixels_survive_normalization_and_back(mean, std):
    normalization = Normalization(mean, std)
    values = normalization(PIXELS)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, [(p - mean) / std for p in range(256)], rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(np.round(values * std + mean), PIXELS)


@given(mean=st.integers(0, 255), std=st.floats(0.5, 200))
def test_table_is_identity_where_scale_and_zero_point_are_the_normalization(mean, std):
    scale = float(np.float32(1 / std))
    normalization = Normalization(mean, std)
    stored = pixel_table(tensor("uint8", scale, mean), normalization)
    np.testing.assert_array_equal(stored, PIXELS)
    encode = encoder(tensor("uint8", scale, mean), normalization)
    assert encode(PIXELS) is PIXELS  # skipped altogether
    signed = pixel_table(tensor("int8", scale, mean - 128), normalization)
    np.testing.assert_array_equal(signed.astype(int) + 128, PIXELS)


@given(
    mean=st.floats(0, 255),
    std=st.floats(1, 200),
    scale=st.floats(1e-3, 1),
    zero=st.integers(0, 255),
)
def test_table_is_the_formula(mean, std, scale, zero):
    table = pixel_table(tensor("uint8", scale, zero), Normalization(mean, std))
    for pixel in range(0, 256, 5):
        real = (pixel - mean) / std
        expected = min(max(real / scale + zero, 0), 255)
        assert abs(int(table[pixel]) - expected) <= 0.5 + 1e-6


def test_table_per_channel_and_its_use():
    normalization = Normalization((10, 20, 30), (50, 60, 70))
    image = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), "uint8")
    given = tensor("int8", 0.05, 3, channels=3)
    stored = encoder(given, normalization)(image)
    expected = np.round(((image - np.array([10, 20, 30])) / [50, 60, 70]) / 0.05) + 3
    np.testing.assert_array_equal(stored, np.clip(expected, -128, 127))
    assert stored.dtype == np.int8


def test_integer_tensors_without_a_scale_or_normalization_hold_pixels():
    np.testing.assert_array_equal(pixel_table(tensor("uint8", None), Normalization(5, 7)), PIXELS)
    np.testing.assert_array_equal(pixel_table(tensor("int8", 0.1), None), np.arange(-128, 128))


@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_an_unknown_normalization_is_an_error(dtype):
    with pytest.raises(ValueError, match=f"takes {dtype}.*Pass mean= and std="):
        encoder(tensor(dtype, None), None)


def test_other_input_types_are_an_error():
    with pytest.raises(ValueError, match="int16. Received: int64"):
        encoder(tensor("int64", None), Normalization.identity())
    with pytest.raises(ValueError, match="scale 0"):
        encoder(tensor("uint8", 0.0), Normalization.identity())


def test_dequantize():
    stored = np.array([[0, 128, 255]], "uint8")
    np.testing.assert_allclose(
        dequantize(stored, tensor("uint8", 0.5, 128)), [[-64, 0, 63.5]], rtol=0
    )
    floats = np.array([[0.25]], "float32")
    assert dequantize(floats, tensor("float32", None)) is floats


def test_quantize_rounds_clips_and_is_undone():
    given = tensor("int8", 0.5, -3)
    stored = quantize(np.array([-100.0, -0.25, 0.0, 0.75, 1.2, 100.0], "float32"), given)
    assert stored.dtype == np.int8 and stored.tolist() == [-128, -3, -3, -1, -1, 127]
    codes = np.arange(-128, 128).astype("int8")
    np.testing.assert_array_equal(quantize(dequantize(codes, given), given), codes)
    assert quantize(np.ones(2), tensor("float32", None)).dtype == np.float32


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_fit_is_the_mean_and_std_of_all_pixels(dtype):
    images = np.random.default_rng(0).integers(0, 200, (600, 3, 4, 3), "uint8").astype(dtype)
    fitted = Normalization.fit(images)
    assert fitted.mean == (float(round(images.mean())),)
    np.testing.assert_allclose(fitted.std, images.std(dtype="float64"), rtol=1e-9)
    assert fitted.is_scalar
    per_channel = Normalization.fit(images, per_channel=True)
    np.testing.assert_allclose(per_channel.mean, images.mean((0, 1, 2), "float64"), rtol=1e-9)
    np.testing.assert_allclose(per_channel.std, images.std((0, 1, 2), "float64"), rtol=1e-9)
    assert not per_channel.is_scalar


def test_fit_reads_array_likes_in_slices():
    class Lazy:
        largest = 0

        def __len__(self):
            return 700

        def __getitem__(self, item):
            values = np.arange(700)[item]
            self.largest = max(self.largest, len(values))
            return np.broadcast_to((values % 256)[:, None, None, None], (len(values), 2, 2, 1))

    images = Lazy()
    values = np.arange(700) % 256
    assert Normalization.fit(images).mean == (float(round(values.mean())),)
    assert images.largest <= 256


@pytest.mark.parametrize("level", [0, 77, 255])
def test_constant_images_get_std_one(level):
    images = np.full((3, 4, 4, 1), level, "uint8")
    assert Normalization.fit(images) == Normalization(level, 1)
    assert np.all(Normalization.fit(images)(images) == 0)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((0, 4, 4, 1), "uint8"), "images is empty"),
        (np.zeros((4, 4, 1), "uint8"), r"shape \(n, height, width, channels\)"),
        (np.full((1, 2, 2, 1), np.nan), "0 to 255. Received: values from nan"),
        (np.full((1, 2, 2, 1), -1.0), "from -1 to -1"),
        (np.full((1, 2, 2, 1), 300), "from 300 to 300"),
        (np.linspace(0, 1, 4).reshape(1, 2, 2, 1), "fractions up to 1.*multiply by 255"),
    ],
)
def test_fit_refuses(images, message):
    with pytest.raises(ValueError, match=message):
        Normalization.fit(images)


def test_fit_refuses_text():
    with pytest.raises(TypeError, match="dtype <U1"):
        Normalization.fit(np.full((1, 2, 2, 1), "a"))


@pytest.mark.parametrize(
    ("mean", "std", "error", "message"),
    [
        (0, 0, ValueError, "std must be above 0"),
        (0, (1, -1, 1), ValueError, "std must be above 0"),
        (float("nan"), 1, ValueError, "mean must be finite"),
        (0, float("inf"), ValueError, "std must be finite"),
        ((1, 2), (1, 2, 3), ValueError, "Received: 2 and 3"),
        ((), 1, ValueError, "one number or one per channel"),
        ([[1]], 1, ValueError, "one number or one per channel"),
        ("grey", 1, TypeError, "mean must be a number"),
        ("127.5", 1, TypeError, "mean must be a number or .* Received: '127.5'"),
        (0, True, TypeError, "std must be a number or .* Received: True"),
    ],
)
def test_bad_numbers(mean, std, error, message):
    with pytest.raises(error, match=message):
        Normalization(mean, std)


def test_channels_must_fit():
    with pytest.raises(ValueError, match=r"3 channels on the last axis.*\(2, 2, 1\)"):
        Normalization((1, 2, 3), 1)(np.zeros((2, 2, 1)))


def test_one_number_spreads_over_the_channels_of_the_other():
    assert Normalization((1, 2, 3), 4) == Normalization((1, 2, 3), (4, 4, 4))
    assert Normalization((5, 5, 5), 4).is_scalar


def test_dict_round_trip():
    normalization = Normalization((1.5, 2, 3), (4, 5, 6))
    assert Normalization.from_dict(normalization.to_dict()) == normalization
    assert hash(normalization) == hash(Normalization.from_dict(normalization.to_dict()))
    with pytest.raises(ValueError, match=r"'mean' and 'std'. Received: only \['mean'\]"):
        Normalization.from_dict({"mean": [1]})
