from __future__ import annotations

import keras
import numpy as np
import pytest
from fresh_process import run_in_fresh_process

from keras_dlcourse.layers import FakeQuantize


def _batches(count: int = 5, shape: tuple[int, ...] = (4, 3), seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.normal(0.3, scale, shape).astype("float32") for scale in range(1, count + 1)]


def _numbers(tensor) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def _rounded(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """The formula of fake quantization in NumPy, away from ties."""
    scale = (high - low) / 255
    zero = np.floor(-low / scale + 0.5)
    return (np.clip(np.floor(x / scale + 0.5) + zero, 0, 255) - zero) * scale


def _model(**options) -> keras.Model:
    inputs = keras.Input((3,))
    hidden = keras.layers.Dense(4, activation="tanh")(FakeQuantize(name="in", **options)(inputs))
    return keras.Model(inputs, keras.layers.Dense(1)(FakeQuantize(name="mid", **options)(hidden)))


def _ranges(model: keras.Model) -> list[tuple[float, float]]:
    return [layer.range() for layer in model.layers if isinstance(layer, FakeQuantize)]


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.99])
def test_the_range_is_a_moving_average_and_the_first_batch_counts_whole(momentum) -> None:
    layer = FakeQuantize(momentum=momentum)
    low = high = None
    for batch in _batches():
        outputs = _numbers(layer(batch, training=True))
        least, most = min(0.0, float(batch.min())), max(0.0, float(batch.max()))
        low = least if low is None else momentum * low + (1 - momentum) * least
        high = most if high is None else momentum * high + (1 - momentum) * most
        np.testing.assert_allclose(layer.range(), (low, high), rtol=1e-5)
        # The batch is rounded to the range that it has moved already.
        np.testing.assert_allclose(outputs, _rounded(batch, *layer.range()), atol=1e-5)
    np.testing.assert_allclose(_numbers(layer(batch)), _rounded(batch, *layer.range()), atol=1e-5)


def test_inference_does_not_move_the_range() -> None:
    layer = FakeQuantize()
    first, second = _batches(2)
    layer(first, training=True)
    before = layer.get_weights()
    layer(second), layer(second, training=False)
    np.testing.assert_array_equal(layer.get_weights(), before)


@pytest.mark.parametrize(("sign", "end"), [(1, 0), (-1, 1)])
def test_ranges_hold_zero(sign, end) -> None:
    layer = FakeQuantize()
    layer(sign * (5 + np.ones((2, 2), "float32")), training=True)
    assert layer.range()[end] == 0 and layer.range()[1 - end] == sign * 6


def test_numbers_pass_unchanged_until_something_was_observed() -> None:
    layer, batch = FakeQuantize(), _batches(1)[0]
    assert not layer.is_observed and layer.range() == (0.0, 0.0)
    np.testing.assert_array_equal(_numbers(layer(batch)), batch)
    layer.trainable = False
    np.testing.assert_array_equal(_numbers(layer(batch, training=True)), batch)
    layer.trainable = True
    layer(batch, training=True)
    assert layer.is_observed and not np.array_equal(_numbers(layer(batch)), batch)


@pytest.mark.parametrize("ranges", ["moving_average", "learned"])
def test_a_frozen_range_stays(ranges) -> None:
    layer = FakeQuantize(ranges)
    first, second = _batches(2)
    layer(first, training=True)
    layer.trainable = False
    before = layer.range()
    outputs = _numbers(layer(second, training=True))
    assert layer.range() == before
    np.testing.assert_allclose(outputs, _rounded(second, *before), atol=1e-5)


def test_a_fixed_range_needs_no_batch_and_has_no_weights() -> None:
    layer = FakeQuantize((-1, 2.0))
    x = np.array([-3.0, -0.5, 0.1, 1.999, 7.0], "float32")
    np.testing.assert_allclose(_numbers(layer(x, training=True)), _rounded(x, -1, 2), atol=1e-6)
    assert layer.is_fixed and layer.is_observed and layer.weights == []
    assert layer.range() == (-1.0, 2.0)


def test_in_training_false_rounds_in_inference_only() -> None:
    layer = FakeQuantize((0.0, 1.0), in_training=False)
    x = np.array([1e-5, 0.5001], "float32")
    np.testing.assert_array_equal(_numbers(layer(x, training=True)), x)
    np.testing.assert_allclose(_numbers(layer(x)), _rounded(x, 0, 1), atol=1e-6)


@pytest.mark.parametrize("in_training", [True, False])
def test_a_range_is_observed_whether_or_not_training_is_rounded(in_training) -> None:
    layer, batch = FakeQuantize(in_training=in_training), _batches(1)[0]
    outputs = _numbers(layer(batch, training=True))
    assert np.array_equal(outputs, batch) is not in_training
    np.testing.assert_allclose(layer.range(), (batch.min(), batch.max()), rtol=1e-6)


def test_learned_ranges_change_in_fit_and_lower_the_loss() -> None:
    """The first batch has an outlier; what counts is near 0, so the range must shrink."""
    inputs = keras.Input((8,))
    model = keras.Model(inputs, FakeQuantize("learned")(inputs))
    x = np.random.default_rng(0).uniform(-0.1, 0.1, (64, 8)).astype("float32")
    outlier = x.copy()
    outlier[0, 0] = 20.0
    model(outlier, training=True)
    layer = model.layers[-1]
    first = layer.range()
    before = float(np.mean((_numbers(model(x)) - x) ** 2))
    model.compile(keras.optimizers.Adam(0.05), "mse")
    many = np.tile(x, (60, 1))  # 60 steps
    model.fit(many, many, batch_size=64, shuffle=False, verbose=0)
    after = float(np.mean((_numbers(model(x)) - x) ** 2))
    assert layer.range()[1] < 0.5 * first[1] and after < 0.5 * before
    assert [float(_numbers(end)) for end in (layer.low, layer.high)] == list(first)


def test_the_gradient_of_the_factors_is_divided_by_the_root_of_their_numbers() -> None:
    """LSQ, section 2.2: g = 1 / sqrt(N * Q), here with N numbers and Q = 255."""
    from gradients_of_weights import weight_gradients

    x = np.array([[0.0, 1.02, 300.0]], "float32")
    layer = FakeQuantize("learned")
    layer(np.array([[0.0, 1.0, 255.0]], "float32"), training=True)
    (found,) = weight_gradients(layer, x)
    # d(sum)/d(high): the rounding error of 1.02, and 1 for what is cut; times high and g.
    expected = ((1 - 1.02) / 255 + 1) * 255 / np.sqrt(3 * 255)
    np.testing.assert_allclose(found, [0.0, expected], rtol=1e-4)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
@pytest.mark.parametrize("ranges", ["moving_average", (-4.0, 3.0)])
def test_every_policy_computes_in_float32(policy, ranges) -> None:
    half = keras.DTypePolicy(policy).compute_dtype
    layer = FakeQuantize(ranges, dtype=policy)
    x = keras.ops.cast(_batches(1)[0], half)
    layer(x, training=True)
    outputs = layer(x)
    assert keras.backend.standardize_dtype(outputs.dtype) == half
    in_float = _numbers(keras.ops.cast(x, "float32"))
    low, high = layer.range()
    expected = keras.ops.cast(_rounded(in_float, low, high).astype("float32"), half)
    np.testing.assert_array_equal(
        _numbers(keras.ops.cast(outputs, "float32")), _numbers(keras.ops.cast(expected, "float32"))
    )


def test_mixed_precision_keeps_ranges_in_float32() -> None:
    layer = FakeQuantize("learned", dtype="mixed_float16")
    layer(np.float32([[1.0, 3000.25]]), training=True)
    assert {weight.dtype for weight in layer.weights} == {"float32"}


@pytest.mark.parametrize("ranges", ["moving_average", "learned"])
def test_training_goes_on_from_a_file_as_if_it_had_not_stopped(ranges, tmp_path) -> None:
    random = np.random.default_rng(0)
    x, y = (random.normal(size=(32, n)).astype("float32") for n in (3, 1))
    fit = {"batch_size": 8, "shuffle": False, "verbose": 0}

    keras.utils.set_random_seed(1)
    model = _model(ranges=ranges, momentum=0.7)
    model.compile(keras.optimizers.Adam(0.01), "mse")
    model.fit(x, y, epochs=2, **fit)
    model.save(tmp_path / "half.keras")
    resumed = keras.models.load_model(tmp_path / "half.keras")
    assert _ranges(resumed) == _ranges(model)
    np.testing.assert_array_equal(_numbers(resumed(x)), _numbers(model(x)))

    model.fit(x, y, epochs=2, **fit)
    resumed.fit(x, y, epochs=2, **fit)
    assert _ranges(resumed) == _ranges(model)
    for ours, theirs in zip(resumed.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_set_range_widens_to_zero_and_restarts_factors() -> None:
    layer = FakeQuantize("learned")
    layer.build((None, 3))
    layer.factors.assign([0.5, 0.25])
    layer.set_range(1.0, 4.0)
    assert layer.range() == (0.0, 4.0) and layer.is_observed
    layer.factors.assign([0.5, -0.25])
    assert layer.range() == (0.0, 1.0)


@pytest.mark.parametrize("ranges", ["moving_average", "learned", (-1.0, 3.0)])
def test_a_baked_layer_has_the_same_range_and_nothing_to_observe(ranges) -> None:
    layer = FakeQuantize(ranges, name="range_7")
    batch = _batches(1)[0]
    layer(batch, training=True)
    if ranges == "learned":
        layer.factors.assign([0.5, 0.75])
    baked = layer.bake()
    assert baked.name == "range_7" and baked.is_fixed and not baked.weights
    np.testing.assert_allclose(_numbers(baked(batch)), _numbers(layer(batch)), atol=1e-5)
    assert len(np.unique(_numbers(baked(batch)))) > 2


def test_a_layer_that_saw_zeros_only_is_baked_to_a_range_that_holds_them() -> None:
    layer = FakeQuantize()
    layer(np.zeros((2, 3), "float32"), training=True)
    np.testing.assert_array_equal(_numbers(layer.bake()(np.zeros(3, "float32"))), 0)


def test_what_was_never_observed_is_not_baked() -> None:
    layer = FakeQuantize(name="lost")
    layer.build((None, 3))
    with pytest.raises(ValueError, match=r"layer 'lost' has observed no range yet.*calibrate"):
        layer.bake()
    with pytest.raises(ValueError, match=r"layer 'never' has observed no range yet"):
        FakeQuantize(name="never").bake()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_range_that_is_not_finite_is_not_baked(bad) -> None:
    layer = FakeQuantize(name="broken")
    layer(np.array([1.0, bad], "float32"), training=True)
    with pytest.raises(ValueError, match=r"range of layer 'broken' is \(.*NaN or infinite"):
        layer.bake()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ranges": "ema"}, "ranges must be 'moving_average' or 'learned'.*'ema'"),
        ({"ranges": (1.0, 2.0)}, r"low <= 0 <= high.*\(1.0, 2.0\)"),
        ({"ranges": (-1.0, -0.5)}, r"low <= 0 <= high.*\(-1.0, -0.5\)"),
        ({"ranges": (0.0, 0.0)}, r"two different numbers.*\(0.0, 0.0\)"),
        ({"ranges": (0.0, 1.0, 2.0)}, r"ranges.*\(0.0, 1.0, 2.0\)"),
        ({"ranges": (float("nan"), 1.0)}, r"ranges.*nan"),
        ({"ranges": (0.0, float("inf"))}, r"ranges.*inf"),
        ({"ranges": ("low", "high")}, r"ranges.*'low', 'high'"),
        ({"ranges": 6.0}, r"ranges.*6.0"),
        ({"ranges": None}, r"ranges.*None"),
        ({"momentum": 1.0}, "momentum must be a number of at least 0 and below 1. Received: 1.0"),
        ({"momentum": -0.1}, "momentum.*-0.1"),
    ],
)
def test_bad_arguments_are_refused(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        FakeQuantize(**arguments)


@pytest.mark.slow
@pytest.mark.parametrize("ranges", ["moving_average", "learned"])
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a strategy of TensorFlow")
def test_ranges_stay_equal_on_all_replicas(ranges) -> None:
    """Each replica sees other numbers; the range is the mean of theirs."""
    print(run_in_fresh_process(_REPLICAS, ranges))


_REPLICAS = """
import sys
import numpy as np, tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
import keras
from keras_dlcourse.layers import FakeQuantize, FreezingBatchNormalization

keras.utils.set_random_seed(0)
with strategy.scope():
    inputs = keras.Input((3,))
    x = FakeQuantize(sys.argv[1], momentum=0.5)(inputs)
    x = FreezingBatchNormalization(freeze_after=2)(x)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    model.compile(keras.optimizers.SGD(0.01), "mse")
random = np.random.default_rng(0)
x = (random.normal(size=(16, 3)) * np.arange(1, 17)[:, None]).astype("float32")
model.fit(x, np.ones((16, 1)), batch_size=16, shuffle=False, epochs=1, verbose=0)
quantize, norm = model.layers[1:3]
halves = x[:8], x[8:]
low = np.mean([half.min() for half in halves])
high = np.mean([half.max() for half in halves])
print(quantize.range(), low, high)
np.testing.assert_allclose([quantize.low.numpy(), quantize.high.numpy()], [low, high], rtol=1e-5)
assert float(quantize.observed.numpy()) == 1 and int(norm.steps.numpy()) == 1
model.fit(x, np.ones((16, 1)), batch_size=16, epochs=3, verbose=0)
assert int(norm.steps.numpy()) == 4
frozen = norm.moving_mean.numpy()
model.fit(x, np.ones((16, 1)), batch_size=16, epochs=2, verbose=0)
np.testing.assert_array_equal(norm.moving_mean.numpy(), frozen)
for weight in quantize.weights + model.trainable_weights:
    first, second = strategy.experimental_local_results(weight.value)
    np.testing.assert_array_equal(first.numpy(), second.numpy(), err_msg=weight.path)
"""
