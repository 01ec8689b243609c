"""What every loss of the package keeps to."""

from __future__ import annotations

import functools
import inspect
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from contract_cases import LOSSES, LossCase
from contract_kit import BACKENDS, run_on

import keras_dlcourse as kd
from keras_dlcourse import backend

pytestmark = pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.id)


def _value(loss: keras.losses.Loss, case: LossCase, **weights: Any) -> Any:
    return keras.ops.convert_to_numpy(loss(case.true, case.predicted, **weights))


def _model(case: LossCase, **compile_arguments: Any) -> keras.Model:
    """Return a model whose output can be anything of the shape that the loss takes."""
    keras.utils.set_random_seed(0)
    shape = case.predicted.shape[1:]
    x = inputs = keras.Input((int(np.prod(shape)),))
    x = keras.layers.Dense(int(np.prod(shape)), case.activation, kernel_initializer="identity")(x)
    model = keras.Model(inputs, keras.layers.Reshape(shape)(x) if len(shape) != 1 else x)
    model.compile(keras.optimizers.SGD(0.05), case.loss(**case.arguments), **compile_arguments)
    return model


def _inputs(case: LossCase) -> np.ndarray:
    return case.predicted.reshape(len(case.predicted), -1)


def _gradient(loss: keras.losses.Loss, case: LossCase, predicted: Any) -> tuple[Any, Any]:
    def both(x: Any) -> tuple[Any, Any]:
        value = loss(case.true, x)
        return value, value

    run = backend.gradient(both)
    if keras.backend.backend() == "jax":
        run = backend.compiled(run, [])  # operation by operation it takes many times as long
    gradient, value = run(predicted)
    return keras.ops.convert_to_numpy(gradient), keras.ops.convert_to_numpy(value)


def test_every_argument_survives_a_round_trip(case: LossCase) -> None:
    parameters = inspect.signature(case.loss.__init__).parameters
    common = {"self", "name", "dtype", "reduction"}
    covered = set().union(*(other.arguments for other in LOSSES if other.loss is case.loss))
    assert covered == set(parameters) - common
    for name, value in case.arguments.items():
        assert value != parameters[name].default, name
    given = {"name": "mine", "dtype": "float16", "reduction": "sum"}
    loss = case.loss(**case.arguments, **given)
    assert all(parameters[name].default != value for name, value in given.items())
    stored = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    assert stored["registered_name"] == f"keras_dlcourse>{case.loss.__name__}"
    twin = keras.saving.deserialize_keras_object(stored)
    assert type(twin) is case.loss
    assert (twin.name, twin.dtype, twin.reduction) == ("mine", "float16", "sum")
    assert {name: getattr(twin, name) for name in case.arguments} == case.arguments
    assert _value(twin, case) == _value(loss, case)


def test_every_argument_changes_something(case: LossCase) -> None:
    """Else outputs would not show whether it survived."""
    expected = _value(case.loss(**case.arguments), case)
    for name in set(case.arguments) - set(case.silent):
        others = {key: value for key, value in case.arguments.items() if key != name}
        assert _value(case.loss(**others), case) != expected, name


@pytest.mark.parametrize("load", [keras.models.load_model, kd.load])
def test_a_compiled_model_survives_its_file(case: LossCase, load: Any, tmp_path: Path) -> None:
    model = _model(case)
    model.save(tmp_path / "model.keras")
    loaded = load(tmp_path / "model.keras")
    expected = model.evaluate(_inputs(case), case.true, verbose=0)
    assert loaded.evaluate(_inputs(case), case.true, verbose=0) == pytest.approx(expected)
    assert isinstance(loaded.loss, case.loss) and expected > 0


@pytest.mark.parametrize("jit", [False, True])
def test_training_lowers_it(case: LossCase, jit: bool) -> None:
    model = _model(case, jit_compile=jit)
    x, batch = _inputs(case), len(case.predicted)
    losses = model.fit(x, case.true, epochs=8, batch_size=batch, verbose=0).history["loss"]
    alone = _value(case.loss(**case.arguments), case)
    if case.activation is None:  # the first output is the input
        assert losses[0] == pytest.approx(float(alone), rel=1e-4)
    assert np.isfinite(losses).all() and losses[-1] < losses[0]


def test_weights_of_rows(case: LossCase) -> None:
    loss = case.loss(**case.arguments)
    rows = len(case.predicted)
    ones = np.ones(rows, "float32")
    assert _value(loss, case, sample_weight=ones) == pytest.approx(_value(loss, case), rel=1e-6)
    weights = np.linspace(0.1, 2, rows).astype("float32")
    weighted = _value(loss, case, sample_weight=weights)
    assert weighted != pytest.approx(_value(loss, case), rel=1e-3)
    model = _model(case)
    in_fit = model.evaluate(
        _inputs(case), case.true, sample_weight=weights, batch_size=rows, verbose=0,
    )  # fmt: skip
    outputs = model.predict(_inputs(case), verbose=0)
    expected = float(loss(case.true, outputs, weights))
    assert in_fit == pytest.approx(expected, rel=1e-5)


def test_reductions(case: LossCase) -> None:
    rows = _value(case.loss(**case.arguments, reduction="none"), case)
    assert rows.shape == (len(case.predicted),)
    for name, reduce in (("sum", np.sum), ("mean", np.mean), ("sum_over_batch_size", np.mean)):
        value = _value(case.loss(**case.arguments, reduction=name), case)
        assert value == pytest.approx(reduce(rows), rel=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_mixed_precision(case: LossCase, dtype: str) -> None:
    """Half-precision outputs are taken in, computed in float32, and come out as `dtype` says."""
    full, _ = _gradient(case.loss(**case.arguments), case, _tensor(case))
    half = keras.ops.cast(_tensor(case), dtype)
    gradient, value = _gradient(case.loss(**case.arguments), case, half)
    digits = 3e-2 if dtype == "bfloat16" else 4e-3
    assert value == pytest.approx(_value(case.loss(**case.arguments), case), rel=digits)
    gradient = np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(gradient, "float32")))
    assert np.isfinite(gradient).all()
    assert np.linalg.norm(gradient - full) < 0.15 * np.linalg.norm(full)
    result = case.loss(**case.arguments, dtype=dtype)(case.true, half)
    assert keras.backend.standardize_dtype(result.dtype) == dtype
    before = keras.mixed_precision.dtype_policy()
    try:
        keras.mixed_precision.set_dtype_policy(f"mixed_{dtype}")
        model = _model(case)
        history = model.fit(_inputs(case), case.true, epochs=2, verbose=0).history["loss"]
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    assert np.isfinite(history).all()


def _tensor(case: LossCase) -> Any:
    return keras.ops.convert_to_tensor(case.predicted)


def test_gradient_is_that_of_differences(case: LossCase) -> None:
    """In float64, along random directions, to 1e-4."""
    if case.held:
        pytest.skip(case.held)
    if keras.backend.backend() == "jax":
        import jax

        with jax.enable_x64(True):
            _check_gradient(case)
    else:
        _check_gradient(case)


def _check_gradient(case: LossCase) -> None:
    loss = case.loss(**case.arguments, dtype="float64")
    place = case.predicted.astype("float64")
    gradient, _ = _gradient(loss, case, keras.ops.convert_to_tensor(place, "float64"))
    assert gradient.dtype == "float64"
    random, step = np.random.default_rng(0), 1e-6
    for _ in range(4):
        direction = random.normal(size=place.shape)
        ahead, behind = (
            float(keras.ops.convert_to_numpy(loss(case.true, place + sign * step * direction)))
            for sign in (1, -1)
        )
        expected = (ahead - behind) / (2 * step)
        assert np.sum(gradient * direction) == pytest.approx(expected, rel=1e-4, abs=1e-8)


def test_bad_arguments_are_refused_by_name(case: LossCase) -> None:
    assert case.invalid, "name at least one argument that __init__ must refuse"
    for arguments, message in case.invalid:
        with pytest.raises((ValueError, TypeError), match=message):
            case.loss(**{**case.arguments, **arguments})


@pytest.mark.parametrize("other", BACKENDS)
def test_same_numbers_on_every_backend(case: LossCase, other: str, loss_answers: Any) -> None:
    """Values and gradients: these are computed with other kernels in another order."""
    if other == keras.backend.backend():
        pytest.skip("this process runs on it")
    answers = loss_answers(other)
    gradient, value = _gradient(case.loss(**case.arguments), case, _tensor(case))
    assert float(answers[f"{case.id}.value"]) == pytest.approx(float(value), rel=1e-5)
    theirs = answers[f"{case.id}.gradient"]
    np.testing.assert_allclose(theirs, gradient, atol=1e-4 * np.abs(gradient).max())


@pytest.fixture(scope="session")
def loss_answers(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that computes all cases in one fresh process for a backend."""

    @functools.cache
    def of(name: str) -> Any:
        path = tmp_path_factory.mktemp("losses") / f"{name}.npz"
        code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import numpy as np
from contract_cases import LOSSES
from test_loss_contract import _gradient, _tensor
found = {{}}
for case in LOSSES:
    gradient, value = _gradient(case.loss(**case.arguments), case, _tensor(case))
    found[f"{{case.id}}.gradient"], found[f"{{case.id}}.value"] = gradient, value
np.savez({str(path)!r}, **found)
"""
        run_on(name, "-c", code)
        return np.load(path)

    return of
