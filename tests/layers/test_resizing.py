"""Layers that change the size of maps: places of maxima, bilinear kernels, crops."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers as L

import keras_dlcourse as kd
from keras_dlcourse.layers import Bilinear, CropLike, MaxUnpooling2D, PadToMultiple

RANDOM = np.random.default_rng(0)


def _unpooled(maps, source, size):
    """Put each value at the place of the first maximum of its window."""
    outputs = np.zeros_like(source)
    for batch, row, column, channel in np.ndindex(maps.shape):
        y, x = row * size, column * size
        window = source[batch, y : y + size, x : x + size, channel]
        here = np.unravel_index(window.argmax(), window.shape)  # the first one, in reading order
        outputs[batch, y + here[0], x + here[1], channel] = maps[batch, row, column, channel]
    return outputs


def _numbers(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.mark.parametrize("size", [2, 3])
def test_unpooling_against_loops(size):
    # Few different numbers, so that most windows have several maxima.
    source = RANDOM.integers(0, 3, (2, 2 * size, 4 * size, 3)).astype("float32")
    maps = RANDOM.normal(size=(2, 2, 4, 3)).astype("float32")
    layer = MaxUnpooling2D(size)
    np.testing.assert_array_equal(_numbers(layer([maps, source])), _unpooled(maps, source, size))
    twin = MaxUnpooling2D.from_config(layer.get_config())
    assert twin.pool_size == size
    assert twin([maps.astype("float16"), source]).shape == source.shape


def test_unpooling_undoes_pooling_at_the_maxima():
    source = RANDOM.normal(size=(1, 8, 6, 2)).astype("float32")
    pooled = L.MaxPooling2D(2)(source)
    again = _numbers(MaxUnpooling2D()([pooled, source]))
    np.testing.assert_array_equal(again[again != 0], source[again != 0])
    np.testing.assert_array_equal(_numbers(L.MaxPooling2D(2)(np.abs(again))), np.abs(pooled))


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the converter reads TensorFlow graphs only"
)
def test_both_layers_of_two_inputs_export_and_load(tmp_path):
    image = keras.Input((9, 6, 3), name="image")
    x = PadToMultiple(4)(image)
    x = MaxUnpooling2D()([L.Conv2D(3, 1)(L.MaxPooling2D(2)(x)), x])
    model = keras.Model(image, CropLike()([x, image]))
    model.save(tmp_path / "model.keras")
    given = RANDOM.normal(size=(1, 9, 6, 3)).astype("float32")
    expected = _numbers(model(given))
    assert expected.shape == (1, 9, 6, 3) and expected.any()
    np.testing.assert_array_equal(_numbers(kd.load(tmp_path / "model.keras")(given)), expected)
    path = tmp_path / "model.tflite"
    kd.export.to_tflite(model, path, preprocessing=kd.data.Normalization.identity())
    with kd.edge.DeviceModel(path) as device:
        (outputs,) = device.run(given)
    np.testing.assert_allclose(outputs, expected, atol=1e-6)


@pytest.mark.parametrize("factor", [2, 3, 8])
def test_bilinear_kernels_interpolate(factor):
    maps = RANDOM.normal(size=(1, 5, 6, 3)).astype("float32")
    size = 2 * factor - factor % 2
    layer = L.Conv2DTranspose(
        3, size, factor, padding="same", use_bias=False, kernel_initializer=Bilinear()
    )
    expected = _numbers(L.UpSampling2D(factor, interpolation="bilinear")(maps))
    inner = (slice(None), slice(factor, -factor), slice(factor, -factor))
    np.testing.assert_allclose(_numbers(layer(maps))[inner], expected[inner], atol=1e-5)
    config = keras.saving.serialize_keras_object(Bilinear())
    assert config["registered_name"] == "keras_dlcourse>Bilinear"


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"2 times as large.*\(1, 2, 2, 3\).*\(1, 5, 4, 3\)"):
        MaxUnpooling2D()([np.zeros((1, 2, 2, 3)), np.zeros((1, 5, 4, 3))])
    with pytest.raises(ValueError, match=r"\[maps, source\]"):
        MaxUnpooling2D().build((None, 4, 4, 3))
    with pytest.raises(ValueError, match="pool_size must be an integer of at least 2"):
        MaxUnpooling2D(1)
    with pytest.raises(ValueError, match="CropLike must receive"):
        CropLike().build([(None, 4, 4, 3)])
    with pytest.raises(ValueError, match="multiple must be an integer of at least 2"):
        PadToMultiple(1)
    with pytest.raises(ValueError, match=r"Conv2DTranspose. Received: shape=\(3, 4\)"):
        Bilinear()((3, 4))
