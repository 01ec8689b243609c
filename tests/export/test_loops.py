"""Loops end the converter's process in integer modes: they are refused by name, before."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_dlcourse as kd

layers, ops = keras.layers, keras.ops
DATA = np.random.default_rng(0).normal(0, 1, (104, 6, 4)).astype("float32")


class Wrapper(layers.Layer):
    """Somebody's own recurrent block."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    def call(self, x):
        return self.inner(x) * 2


class Running(layers.Layer):
    """A recurrence without any recurrent layer."""

    def call(self, x):
        steps = ops.transpose(x, (1, 0, 2))
        return ops.scan(lambda c, y: (c * 0.5 + y, c), steps[0] * 0, steps)[0]


def nested():
    inner = keras.Sequential([keras.Input((6, 4)), layers.GRU(3, name="deep_gru")], name="inner")
    return keras.Sequential([keras.Input((6, 4)), inner, layers.Dense(2)])


def around(layer):
    return lambda: keras.Sequential([keras.Input((6, 4)), layer(), layers.Dense(2)])


@pytest.mark.parametrize("scheme", ["int8", "int16x8"])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (around(lambda: layers.LSTM(3, name="memory")), "layer 'memory' is a recurrent loop"),
        (nested, "layer 'deep_gru' is a recurrent loop"),
        (around(lambda: layers.Bidirectional(layers.GRU(3), name="both")),
         r"layer 'both' \(the GRU in it\) is a recurrent loop"),
        (around(lambda: layers.RNN(layers.LSTMCell(3), name="cells")),
         "layer 'cells' is a recurrent loop"),
        (around(lambda: Wrapper(layers.SimpleRNN(3), name="mine")),
         r"layer 'mine' \(the SimpleRNN in it\) is a recurrent loop"),
        (around(lambda: Running(name="running")), "layer 'running' of model .* computes in a loop"),
    ],
)  # fmt: skip
def test_refused_by_name_with_a_way_out(make, message, scheme, tmp_path):
    with pytest.raises(kd.export.ExportError, match=message) as caught:
        kd.export.to_tflite(make(), tmp_path / "m.tflite", quantization=scheme, calibration=DATA)
    assert "unroll=True" in str(caught.value)
    assert "quantization='float32'" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_subclassed_model(tmp_path):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.memory = layers.LSTM(3, name="own_memory")

        def call(self, x):
            return self.memory(x)

    model = Own()
    model(DATA[:1])
    with pytest.raises(kd.export.ExportError, match="'own_memory' is a recurrent loop"):
        kd.export.to_tflite(model, tmp_path / "m.tflite", quantization="int8", calibration=DATA)


def test_saved_model(tmp_path):
    around(lambda: layers.LSTM(3))().export(tmp_path / "saved", verbose=False)
    with pytest.raises(kd.export.ExportError, match="computes in a loop"):
        kd.export.to_tflite(
            tmp_path / "saved", tmp_path / "m.tflite", quantization="int8", calibration=DATA
        )


@pytest.mark.filterwarnings("ignore:.*is not all integer")
def test_the_way_out_is_one(tmp_path):
    """Unrolled, and as floats, the same layers convert and run."""
    unrolled = around(lambda: layers.Bidirectional(layers.GRU(3, unroll=True)))()
    result = kd.export.to_tflite(
        unrolled, tmp_path / "m.tflite", quantization="int8", calibration=DATA
    )
    assert kd.export.preflight(result, ["ai-edge-litert"])["ai-edge-litert"].runs == "yes"
    looped = around(lambda: Running())()
    result = kd.export.to_tflite(looped, tmp_path / "f.tflite")
    assert kd.export.verify(looped, result, DATA[:5]).max_error < 1e-5
