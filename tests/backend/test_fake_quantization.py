"""Fake quantization against its formula in NumPy, and TensorFlow's operations against ours.

TensorFlow's operations are compared on every backend, so that on JAX it is JAX's numbers that must
equal TensorFlow's; where it is not installed, the formula alone is what they are compared with.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest
from gradients import gradients
from hypothesis import assume, example, given
from hypothesis import strategies as st

from keras_dlcourse import backend
from keras_dlcourse.backend import portable

tensorflow: Any = None
if importlib.util.find_spec("tensorflow") is not None:
    tensorflow = importlib.import_module("keras_dlcourse.backend.tensorflow")
needs_tensorflow = pytest.mark.skipif(tensorflow is None, reason="TensorFlow is not installed")

ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
TIE = 2e-4  # of a step: what float32 cannot tell from one half at code 255


@dataclass(frozen=True)
class Nudged:
    """The formula in the documentation of `tf.quantization.fake_quant_with_min_max_vars`.

    In float64. The range is stretched over the codes `first` to 255, then moved so that 0 falls on
    the code nearest to it.
    """

    low: float
    high: float
    narrow: bool = False

    @property
    def first(self) -> int:
        return 1 if self.narrow else 0

    @property
    def scale(self) -> float:
        return (np.float64(self.high) - np.float64(self.low)) / (255 - self.first)

    @property
    def exact_zero_point(self) -> float:
        return self.first - np.float64(self.low) / self.scale

    @property
    def zero_point(self) -> int:
        return int(np.floor(np.clip(self.exact_zero_point, self.first, 255) + 0.5))

    def steps(self, x: np.ndarray) -> np.ndarray:
        """Where numbers lie on the line of codes, before rounding."""
        place = np.asarray(x, "float64") / self.scale + self.zero_point
        return np.clip(place, self.first, 255)

    def codes(self, x: np.ndarray) -> np.ndarray:
        return np.floor(self.steps(x) + 0.5)

    def numbers(self, x: np.ndarray) -> np.ndarray:
        return (self.codes(x) - self.zero_point) * self.scale

    def is_tie(self, x: np.ndarray) -> np.ndarray:
        return np.abs(self.steps(x) % 1 - 0.5) < TIE

    def is_inside(self, x: np.ndarray) -> np.ndarray:
        place = np.asarray(x, "float64") / self.scale + self.zero_point
        return (place >= self.first) & (place <= 255)

    @property
    def zero_point_is_a_tie(self) -> bool:
        return bool(abs(self.exact_zero_point % 1 - 0.5) < TIE)


def _widths() -> Any:
    return st.floats(-30, 30).map(lambda power: float(np.float32(10.0**power)))


@st.composite
def ranges(draw: Any) -> tuple[float, float]:
    """Straddling zero, on one side of it, tiny, huge; never empty."""
    width, share = draw(_widths()), draw(st.sampled_from([0.0, 1.0]) | st.floats(0, 1))
    low, high = -np.float32(width * share), np.float32(width * (1 - share))
    return float(low), float(high)


# Numbers in units of the range's width: inside, at the ends, and far outside.
PLACES = st.lists(
    st.floats(-2, 2, width=32) | st.sampled_from([0.0, -1.0, 1.0, 1e6, -1e6]),
    min_size=1,
    max_size=20,
)


def _numbers(places: list[float], low: float, high: float) -> np.ndarray:
    # Always 20: JAX would compile anew for each length.
    return (np.resize(np.array(places, "float64"), 20) * (high - low)).astype("float32")


def _portable(x: np.ndarray, low: Any, high: Any, narrow: bool = False) -> np.ndarray:
    low, high = np.float32(low), np.float32(high)
    tensors = (keras.ops.convert_to_tensor(value) for value in (x, low, high))
    return keras.ops.convert_to_numpy(portable.fake_quantize(*tensors, narrow))


def _tensorflow(x: np.ndarray, low: float, high: float, narrow: bool = False) -> np.ndarray:
    return tensorflow.fake_quantize(x, np.float32(low), np.float32(high), narrow).numpy()


BOTH = pytest.mark.parametrize(
    "quantize", [_portable, pytest.param(_tensorflow, marks=needs_tensorflow)]
)
EACH = pytest.mark.parametrize(
    "function", ["backend", "portable", pytest.param("tensorflow", marks=needs_tensorflow)]
)


@BOTH
@given(ends=ranges(), places=PLACES, narrow=st.booleans())
@example((-1.0, 1.0), [0.5, -0.5, 0.25], True)
@example((0.0, 6.0), [1.0, 0.0, -1.0], False)
@example((-3.0, 0.0), [-1.0, 0.0, 1.0], False)
def test_numbers_and_codes_are_those_of_the_formula(quantize, ends, places, narrow) -> None:
    nudged = Nudged(*ends, narrow)
    assume(not nudged.zero_point_is_a_tie)
    x = _numbers(places, *ends)
    outputs = quantize(x, *ends, narrow).astype("float64")
    codes = np.round(outputs / nudged.scale) + nudged.zero_point
    off = np.abs(codes - nudged.codes(x))
    assert np.all(off <= nudged.is_tie(x)), (x, codes, nudged.codes(x))
    same = off == 0
    width = ends[1] - ends[0]
    np.testing.assert_allclose(outputs[same], nudged.numbers(x)[same], rtol=1e-6, atol=1e-6 * width)


@needs_tensorflow
@given(ends=ranges(), places=PLACES, narrow=st.booleans())
def test_tensorflow_gives_the_same_numbers(ends, places, narrow) -> None:
    nudged = Nudged(*ends, narrow)
    assume(not nudged.zero_point_is_a_tie)
    x = _numbers(places, *ends)
    ours, theirs = (f(x, *ends, narrow).astype("float64") for f in (_portable, _tensorflow))
    steps = np.round((ours - theirs) / nudged.scale)
    assert np.all(np.abs(steps) <= nudged.is_tie(x)), (x, ours, theirs)
    same = steps == 0
    width = ends[1] - ends[0]
    np.testing.assert_allclose(ours[same], theirs[same], rtol=1e-6, atol=1e-6 * width)


@needs_tensorflow
@given(width=_widths())
def test_symmetric_ranges_get_the_zero_point_of_tensorflow(width) -> None:
    """0 lies between codes 127 and 128 then: the tie must fall the same way (tanh: -1 to 1)."""
    x = np.linspace(-1.2 * width, 1.2 * width, 7).astype("float32")
    ours, theirs = _portable(x, -width, width), _tensorflow(x, -width, width)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=2e-6 * width)


@BOTH
@given(ends=ranges(), narrow=st.booleans())
def test_zero_is_exact(quantize, ends, narrow) -> None:
    """Padding with zeros must cost nothing."""
    assert abs(quantize(np.zeros(1, "float32"), *ends, narrow)[0]) <= 2e-7 * (ends[1] - ends[0])


@BOTH
def test_what_was_rounded_once_stays(quantize) -> None:
    x = np.linspace(-2, 3, 1000, dtype="float32")
    once = quantize(x, -1.3, 2.1)
    assert len(np.unique(once)) == 256
    np.testing.assert_array_equal(quantize(once, -1.3, 2.1), once)


@BOTH
@pytest.mark.parametrize("narrow", [False, True])
def test_an_empty_range_gives_zeros(quantize, narrow) -> None:
    x = np.array([-1.0, 0.0, 2.0], "float32")
    np.testing.assert_array_equal(quantize(x, 0.0, 0.0, narrow), np.zeros(3))


@BOTH
def test_infinite_numbers_are_clipped_and_nan_is_seen(quantize) -> None:
    outputs = quantize(np.array([np.inf, -np.inf, np.nan], "float32"), -1.0, 1.2)
    nudged = Nudged(-1.0, 1.2)
    ends = [(255 - nudged.zero_point) * nudged.scale, -nudged.zero_point * nudged.scale]
    np.testing.assert_allclose(outputs[:2], ends, rtol=1e-6)
    if quantize is _portable:  # TensorFlow's kernel clips NaN to an end
        assert np.isnan(outputs[2])


@pytest.mark.parametrize("function", ["backend", "portable"])
@given(ends=ranges(), places=PLACES, narrow=st.booleans(), seed=st.integers(0, 99))
def test_gradients_are_1_inside_and_0_outside(function, ends, places, narrow, seed) -> None:
    quantize = (backend if function == "backend" else portable).fake_quantize
    nudged = Nudged(*ends, narrow)
    assume(not nudged.zero_point_is_a_tie)
    x = _numbers(places, *ends)
    # At the nudged ends themselves float32 cannot tell inside from outside.
    distance = np.abs(x / nudged.scale + nudged.zero_point - [[nudged.first], [255]]).min(axis=0)
    clear = distance > TIE
    upstream = np.random.default_rng(seed).normal(size=x.shape).astype("float32")
    low, high = (keras.ops.convert_to_tensor(np.float32(end)) for end in ends)
    (found,) = gradients(lambda x: quantize(x, low, high, narrow), x, upstream=upstream)
    expected = np.where(nudged.is_inside(x), upstream, 0)
    np.testing.assert_array_equal(found[clear], expected[clear])


@pytest.mark.parametrize("function", ["backend", "portable"])
def test_numbers_at_the_ends_of_the_range_keep_their_gradient(function) -> None:
    """The largest weight of a channel is always there, and so are the zeros behind a ReLU."""
    quantize = (backend if function == "backend" else portable).fake_quantize
    for low, high, narrow in ((0.0, 255.0, False), (-127.0, 127.0, True)):
        x = np.array([low, high], "float32")
        ends = [keras.ops.convert_to_tensor(np.float32(end)) for end in (low, high)]
        (found,) = gradients(
            lambda x, ends=ends, narrow=narrow: quantize(x, *ends, narrow), x, upstream=np.ones(2)
        )
        np.testing.assert_array_equal(found, [1, 1])


@pytest.mark.parametrize("function", ["backend", "portable"])
def test_weights_that_are_all_zero_keep_their_gradient(function) -> None:
    quantize = (backend if function == "backend" else portable).fake_quantize_per_channel
    weights = np.array([[0.0, 1.0], [0.0, 0.4]], "float32")
    upstream = np.array([[2.0, 3.0], [4.0, 5.0]], "float32")
    (found,) = gradients(lambda w: quantize(w, -1), weights, upstream=upstream)
    np.testing.assert_array_equal(found, upstream)


SHAPES = [(5, 3), (2, 5, 3), (3, 2, 4, 5)]
AXES = [(shape, axis) for shape in SHAPES for axis in range(-len(shape), len(shape))]


def _per_channel(weights: np.ndarray, axis: int) -> np.ndarray:
    """Each channel alone: round to -127..127 times its largest absolute value / 127."""
    rounded = np.zeros(weights.shape)
    for channel in range(weights.shape[axis]):
        place: list[Any] = [slice(None)] * weights.ndim
        place[axis] = channel
        values = weights[tuple(place)].astype("float64")
        scale = np.abs(values).max() / 127
        if scale > 0:
            rounded[tuple(place)] = np.floor(values / scale + 0.5) * scale
    return rounded


@EACH
@pytest.mark.parametrize(("shape", "axis"), AXES, ids=str)
def test_each_channel_has_its_own_scale(function, shape, axis) -> None:
    quantize = {"backend": backend, "portable": portable, "tensorflow": tensorflow}[function]
    rng = np.random.default_rng(abs(axis))
    spread = [1] * len(shape)
    spread[axis] = shape[axis]
    channels = 10.0 ** np.arange(-2, shape[axis] - 2).reshape(spread)
    weights = (rng.normal(size=shape) * channels).astype("float32")
    np.moveaxis(weights, axis, 0)[1] = 0  # one channel is all 0
    tensor = weights if function == "tensorflow" else keras.ops.convert_to_tensor(weights)
    outputs = np.asarray(quantize.fake_quantize_per_channel(tensor, axis))
    expected = _per_channel(weights, axis)
    assert np.all(np.abs(outputs - expected) <= 2e-6 * np.abs(weights).max(), where=channels > 0)
    np.testing.assert_allclose(outputs / channels, expected / channels, atol=3e-6)


@needs_tensorflow
@given(seed=st.integers(0, 10_000), power=st.floats(-20, 20))
def test_per_channel_codes_are_those_of_tensorflow(seed, power) -> None:
    weights = np.random.default_rng(seed).normal(size=(7, 3)) * 10.0**power
    weights = weights.astype("float32")
    ours = keras.ops.convert_to_numpy(
        portable.fake_quantize_per_channel(keras.ops.convert_to_tensor(weights), -1)
    )
    theirs = tensorflow.fake_quantize_per_channel(weights, -1).numpy()
    scale = np.abs(weights.astype("float64")).max(axis=0) / 127
    tie = np.abs(np.abs(weights / scale) % 1 - 0.5) < TIE
    assert np.all(np.abs(np.round((ours - theirs) / scale)) <= tie)
    np.testing.assert_allclose((ours / scale)[~tie], (theirs / scale)[~tie], atol=1e-4)


def _learned(x: np.ndarray, low: float, high: float) -> tuple[np.ndarray, ...]:
    """LSQ with an offset in closed form: numbers, and their slopes in x, low and high.

    With s = (high - low) / 255 and z = round(-low / s), which counts as -low / s in the gradient:
    inside of the range the number is round(x / s) s, outside it is -z s or (255 - z) s.
    """
    x, low, high = np.asarray(x, "float64"), np.float64(low), np.float64(high)
    s = (high - low) / 255
    z = np.floor(-low / s + 0.5)
    codes = np.floor(x / s + 0.5) + z
    below, above = codes < 0, codes > 255
    numbers = (np.clip(codes, 0, 255) - z) * s
    slope_s = np.select([below, above], [-z - low / s, 255 - z - low / s], codes - z - x / s)
    outside = below | above
    # s grows with high and shrinks with low, by 1/255; z moves with low alone, at a fixed s.
    slope_low = np.where(outside, 1.0, 0.0) - slope_s / 255
    return numbers, np.where(outside, 0.0, 1.0), slope_low, slope_s / 255


@given(
    width=st.floats(0.01, 100),
    share=st.floats(0.02, 0.98),
    places=st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=20),
)
def test_learned_ranges_have_the_gradients_of_lsq(width, share, places) -> None:
    low, high = np.float32(-width * share), np.float32(width * (1 - share))
    x = _numbers(places, float(low), float(high))
    scale = (np.float64(high) - np.float64(low)) / 255
    tie = np.abs(x / scale % 1 - 0.5) < 1e-3
    assume(not tie.any() and abs(-low / scale % 1 - 0.5) > 1e-3)
    numbers, slope_x, slope_low, slope_high = _learned(x, low, high)
    outputs = keras.ops.convert_to_numpy(
        portable.fake_quantize_learned(*(keras.ops.convert_to_tensor(v) for v in (x, low, high)))
    )
    np.testing.assert_allclose(outputs, numbers, rtol=1e-5, atol=1e-6 * width)
    upstream = np.random.default_rng(len(places)).normal(size=x.shape).astype("float32")
    found = gradients(portable.fake_quantize_learned, x, low, high, upstream=upstream)
    np.testing.assert_allclose(found[0], upstream * slope_x, rtol=1e-6)
    # Differences of codes of up to 255, and of numbers twice the range, divided by 255 in float32.
    atol = 2e-4
    np.testing.assert_allclose(found[1], np.sum(upstream * slope_low), rtol=1e-4, atol=atol)
    np.testing.assert_allclose(found[2], np.sum(upstream * slope_high), rtol=1e-4, atol=atol)


def test_learned_ranges_behind_a_relu() -> None:
    """The whole range above 0: zeros have a gradient, and the high end learns from what it cuts."""
    x, low, high = np.array([0.0, 1.02, 300.0], "float32"), np.float32(0), np.float32(255)
    found = gradients(portable.fake_quantize_learned, x, low, high, upstream=np.ones(3))
    np.testing.assert_array_equal(found[0], [1, 1, 0])
    np.testing.assert_allclose(found[2], (1 - 1.02) / 255 + 1, rtol=1e-5)


@EACH
def test_l2_normalize(function) -> None:
    normalize = {"backend": backend, "portable": portable, "tensorflow": tensorflow}[function]
    vectors = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
    vectors[0, 0], vectors[0, 1] = 0, 1e-4
    tensor = vectors if function == "tensorflow" else keras.ops.convert_to_tensor(vectors)
    outputs = np.asarray(normalize.l2_normalize(tensor, 1e-6))
    length = np.sqrt(np.maximum((vectors.astype("float64") ** 2).sum(-1, keepdims=True), 1e-6))
    np.testing.assert_allclose(outputs, vectors / length, rtol=1e-6)


def test_the_backend_takes_its_own_operations() -> None:
    source = "tensorflow" if ON_TENSORFLOW else "portable"
    for name in ("fake_quantize", "fake_quantize_per_channel", "l2_normalize"):
        assert getattr(backend, name).__module__ == f"keras_dlcourse.backend.{source}"
