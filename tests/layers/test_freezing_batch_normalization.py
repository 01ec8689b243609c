from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_dlcourse.layers import FreezingBatchNormalization

OPTIONS = [
    {"momentum": 0.7, "epsilon": 0.01},
    {"momentum": 0.5, "center": False},
    {"momentum": 0.5, "scale": False},
    {"momentum": 0.5, "axis": 1},
]


def _batch(seed: int, dtype: str = "float32") -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.normal(size=(6, 5, 4, 3)) * (1 + seed) + seed).astype(dtype)


def _numbers(tensor) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def _statistics(layer) -> list[np.ndarray]:
    return [_numbers(layer.moving_mean), _numbers(layer.moving_variance)]


def _randomise(layer, seed: int = 9) -> None:
    random = np.random.default_rng(seed)
    for weight in layer.weights:
        if "float" in weight.dtype:
            weight.assign(random.uniform(0.5, 1.5, weight.shape))


def _pair(freeze_after: int, **options):
    """Return our layer and Keras's, with the same random weights."""
    theirs = keras.layers.BatchNormalization(**options)
    theirs.build((None, 5, 4, 3))
    _randomise(theirs)
    return FreezingBatchNormalization.of(theirs, freeze_after), theirs


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_until_it_freezes_it_is_batch_normalization(options) -> None:
    ours, theirs = _pair(3, **options)
    for step in range(3):
        outputs = _numbers(ours(_batch(step), training=True))
        np.testing.assert_array_equal(outputs, _numbers(theirs(_batch(step), training=True)))
        for our, their in zip(_statistics(ours), _statistics(theirs), strict=True):
            np.testing.assert_array_equal(our, their)
        np.testing.assert_array_equal(_numbers(ours(_batch(7))), _numbers(theirs(_batch(7))))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("freeze_after", [0, 2])
def test_then_training_computes_what_inference_computes(options, freeze_after) -> None:
    ours, theirs = _pair(freeze_after, **options)
    for step in range(freeze_after):
        ours(_batch(step), training=True), theirs(_batch(step), training=True)
    frozen = _statistics(ours)
    for step in range(freeze_after, freeze_after + 3):
        outputs = _numbers(ours(_batch(step), training=True))
        np.testing.assert_allclose(outputs, _numbers(theirs(_batch(step))), rtol=1e-5, atol=1e-5)
        for now, before in zip(_statistics(ours), frozen, strict=True):
            np.testing.assert_array_equal(now, before)


def test_renormalization_freezes_all_its_statistics() -> None:
    ours, _ = _pair(1, renorm=True, renorm_momentum=0.5)
    ours(_batch(0), training=True)
    before = [_numbers(weight) for weight in ours.weights if weight is not ours.steps]
    ours(_batch(1), training=True)
    after = [_numbers(weight) for weight in ours.weights if weight is not ours.steps]
    assert len(after) > 4
    for now, then in zip(after, before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_half_precision_is_computed_as_keras_computes_it(policy) -> None:
    half = keras.DTypePolicy(policy).compute_dtype
    ours, theirs = _pair(1, dtype=policy)
    for step in range(3):
        x = keras.ops.cast(_batch(step), half)
        outputs = ours(x, training=True)
        assert keras.backend.standardize_dtype(outputs.dtype) == half
        expected = theirs(x, training=step < 1)
        # One rounding to half precision, of numbers up to 8.
        np.testing.assert_allclose(
            _numbers(keras.ops.cast(outputs, "float32")),
            _numbers(keras.ops.cast(expected, "float32")),
            atol=0.04 if half == "bfloat16" else 0.005,
        )


def test_a_batch_that_is_not_finite_does_no_harm_once_frozen() -> None:
    layer, _ = _pair(0)
    batch = _batch(0)
    batch[0, 0, 0, 0] = np.inf
    outputs = _numbers(layer(batch, training=True))
    assert np.isfinite(outputs[1:]).all() and all(np.isfinite(s).all() for s in _statistics(layer))


def test_training_steps_are_counted_and_then_freeze() -> None:
    """Inside of the compiled training step; scale and offset go on learning."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5, 4, 3))
    layer = FreezingBatchNormalization(freeze_after=3, momentum=0.5)
    model = keras.Model(inputs, keras.layers.Flatten()(layer(inputs)))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    history = []
    for step in range(5):
        model.train_on_batch(_batch(step), _batch(step).reshape(6, -1))
        history.append([_numbers(weight) for weight in layer.weights])
    gammas, _, means, variances, steps = (np.array(column) for column in zip(*history, strict=True))
    assert steps.tolist() == [1, 2, 3, 4, 5]
    for values in (means, variances):
        changed = [not np.array_equal(a, b) for a, b in zip(values, values[1:], strict=False)]
        assert changed == [True, True, False, False]
    assert all(not np.array_equal(a, b) for a, b in zip(gammas, gammas[1:], strict=False))


def test_inference_and_frozen_layers_count_no_steps() -> None:
    layer, theirs = _pair(5)
    layer(_batch(0)), layer(_batch(0), training=False)
    layer.trainable = theirs.trainable = False
    outputs = _numbers(layer(_batch(1), training=True))
    np.testing.assert_array_equal(outputs, _numbers(theirs(_batch(1), training=True)))
    assert int(_numbers(layer.steps)) == 0


def test_a_copy_of_a_freezing_layer_goes_on_counting() -> None:
    layer, _ = _pair(2)
    layer(_batch(0), training=True)
    copy = FreezingBatchNormalization.of(layer, 2)
    for ours, theirs in zip(copy.get_weights(), layer.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert int(_numbers(copy.steps)) == 1


def test_a_file_remembers_the_steps(tmp_path) -> None:
    inputs = keras.Input((5, 4, 3))
    model = keras.Model(inputs, FreezingBatchNormalization(freeze_after=2)(inputs))
    model(_batch(0), training=True), model(_batch(1), training=True)
    model.save(tmp_path / "frozen.keras")
    layer = keras.models.load_model(tmp_path / "frozen.keras").layers[-1]
    before = _statistics(layer)
    layer(_batch(2), training=True)
    np.testing.assert_array_equal(_statistics(layer), before)


@pytest.mark.parametrize("bad", [-1, 1.5, None, True, "2"])
def test_bad_steps_are_refused(bad) -> None:
    error = ValueError if bad == -1 else TypeError
    with pytest.raises(error, match=f"freeze_after must be an integer.*{bad!r}"):
        FreezingBatchNormalization(freeze_after=bad)
