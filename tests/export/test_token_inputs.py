"""Inputs of token numbers: integers stay integers in every scheme, or it is an error."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from small_models import randomise

import keras_dlcourse as kd

L = keras.layers


def _model(dtype):
    inputs = keras.Input((12,), dtype=dtype)
    x = L.GlobalAveragePooling1D()(L.Embedding(5000, 8)(inputs))
    return randomise(keras.Model(inputs, L.Dense(3)(x)))


@pytest.fixture(scope="module")
def tokens():
    return np.random.default_rng(0).integers(0, 5000, (150, 12))


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("scheme", ["float32", "float16", "dynamic", "int8"])
def test_integers_keep_their_type(scheme, dtype, tokens, tmp_path):
    model = _model(dtype)
    path = tmp_path / "m.tflite"
    kd.export.to_tflite(model, path, quantization=scheme, calibration=tokens)
    (given,) = kd.edge.ModelFile.read(path).inputs
    assert given.dtype == "int32" and given.scales == ()
    result = kd.export.verify(model, path, tokens)
    assert result.passed and result.max_relative_error < 0.05


def test_sequential_models(tokens, tmp_path):
    layers = [L.Embedding(5000, 8), L.GlobalAveragePooling1D(), L.Dense(3)]
    model = randomise(keras.Sequential([keras.Input((12,), dtype="int32"), *layers]))
    kd.export.to_tflite(model, tmp_path / "m.tflite", quantization="int8", calibration=tokens)
    assert kd.edge.ModelFile.read(tmp_path / "m.tflite").inputs[0].dtype == "int32"
    floats = keras.Sequential([keras.Input((12,)), *layers])
    with pytest.raises(kd.export.ExportError, match="must be integers"):
        kd.export.to_tflite(floats, tmp_path / "m.tflite", quantization="int8", calibration=tokens)


def test_what_would_round_token_numbers_is_an_error(tokens, tmp_path):
    with pytest.raises(kd.export.ExportError, match=r"must be integers.*Embedding.*dtype='int32'"):
        kd.export.to_tflite(
            _model("float32"), tmp_path / "m.tflite", quantization="int8", calibration=tokens
        )
    with pytest.raises(kd.export.ExportError, match="does not support integer inputs.*'int8'"):
        kd.export.to_tflite(
            _model("int32"), tmp_path / "m.tflite", quantization="int16x8", calibration=tokens
        )
    model = _model("float32")
    kd.export.to_tflite(model, tmp_path / "m.tflite")  # floats represent token numbers exactly
    assert kd.export.verify(model, tmp_path / "m.tflite", tokens).passed
