"""Ranges measured on data."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from quantized_models import BODIES, L, inputs, network

import keras_dlcourse as kd
from keras_dlcourse.quantize.qat.observe import _stride


def one_layer() -> keras.Model:
    """A network whose one activation is its input, times two."""
    given = keras.Input((4,), name="x")
    dense = L.Dense(4, use_bias=False, name="twice")
    model = keras.Model(given, dense(given))
    dense.set_weights([2 * np.eye(4, dtype="float32")])
    return kd.quantize.quantization_aware(model)


def ranges(model: keras.Model) -> dict[str, tuple[float, float]]:
    return {name: model.get_layer(name).range() for name in ("x_range", "twice_range")}


def data(rows: int = 100) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, 4)).astype("float32")


def test_min_max_is_that_of_all_numbers() -> None:
    x = data()
    found = ranges(kd.quantize.calibrate(one_layer(), {"x": x}, batch_size=16))
    assert found["x_range"] == pytest.approx((x.min(), x.max()), rel=1e-6)
    assert found["twice_range"] == pytest.approx((2 * x.min(), 2 * x.max()), rel=1e-6)


def test_moving_average_follows_the_batches() -> None:
    x = data(40)
    low, high = x[:10].min(), x[:10].max()
    for start in (10, 20, 30):
        low = 0.8 * low + 0.2 * x[start : start + 10].min()
        high = 0.8 * high + 0.2 * x[start : start + 10].max()
    options = {"method": "moving_average", "momentum": 0.8, "batch_size": 10}
    found = ranges(kd.quantize.calibrate(one_layer(), {"x": x}, **options))
    assert found["x_range"] == pytest.approx((low, high), rel=1e-5)


def test_percentile_leaves_out_outliers_and_little_else() -> None:
    x = data(200)
    x[3, 2] = 1000.0
    options = {"method": "percentile", "percentile": 99.0}
    found = ranges(kd.quantize.calibrate(one_layer(), {"x": x}, **options))
    assert found["x_range"] == pytest.approx(tuple(np.percentile(x, [1, 99])), rel=1e-5)


def test_ranges_hold_zero() -> None:
    found = ranges(kd.quantize.calibrate(one_layer(), {"x": np.abs(data()) + 1}))
    assert found["x_range"][0] == 0.0


@pytest.mark.parametrize("numbers", [1, 10, 2048, 4096, 6144, 32 * 32 * 24, 112 * 112 * 32])
def test_samples_meet_every_channel(numbers: int) -> None:
    step = _stride(numbers)
    assert len(range(0, numbers, step)) <= 2 * 2048
    channels = 32
    if numbers >= 6144:
        assert len({place % channels for place in range(0, numbers, step)}) == channels


def test_what_fit_takes_and_batches_of_any_size() -> None:
    model = kd.quantize.quantization_aware(network(BODIES["relu6"]))
    x = inputs(50)
    kd.quantize.calibrate(model, (x, np.zeros(50)), batch_size=32)
    assert all(layer.is_observed for layer in model.layers if hasattr(layer, "is_observed"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"method": "best"},
            "method must be one of 'min_max', 'moving_average', 'percentile'.*'best'",
        ),
        ({"percentile": 40}, "percentile must be a number above 50 and at most 100. Received: 40"),
    ],
)
def test_bad_options(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kd.quantize.calibrate(one_layer(), {"x": data()}, **options)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"y": data()}, r"must have the inputs \['x'\] of model .* Received: \['y'\]"),
        ({"x": data()[:, :3]}, r"shape \(4,\) for input 'x'. Received: \(3,\)"),
        ({"x": data()[:0]}, "for input 'x'. Received: no examples"),
        ({"x": data() * np.nan}, "for input 'x'. Received: NaN or infinite values"),
    ],
)
def test_bad_data(given, message: str) -> None:
    model = one_layer()
    with pytest.raises(ValueError, match=message):
        kd.quantize.calibrate(model, given)
    assert not model.get_layer("x_range").is_observed


def test_a_float_model_has_no_ranges() -> None:
    with pytest.raises(ValueError, match="has no ranges to measure. Make it quantization-aware"):
        kd.quantize.calibrate(network(BODIES["relu6"]), inputs())
