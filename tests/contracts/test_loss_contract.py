"""What every loss of the package keeps to."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
from cases.kinds import LossCase
from cases.losses import LOSSES
from contract_kit import answer_of, loss_gradient, together

import keras_dlcourse as kd

pytestmark = pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.id)
CASES = {case.id: case for case in LOSSES}
ROWS = 10


def _value(loss: keras.losses.Loss, case: LossCase, **weights: Any) -> Any:
    return keras.ops.convert_to_numpy(loss(case.true, case.predicted, **weights))


def _model(names: Sequence[str], **compile_arguments: Any) -> keras.Model:
    """Return a model with an output for each case, which can be anything that the loss takes.

    No two outputs share weights: each loss trains its own, as if it were alone.
    """
    keras.utils.set_random_seed(0)
    inputs, outputs = {}, {}
    for name in names:
        shape = CASES[name].predicted.shape[1:]
        size = int(np.prod(shape))
        x = inputs[f"{name}-inputs"] = keras.Input((size,), name=f"{name}-inputs")
        x = keras.layers.Dense(size, CASES[name].activation, kernel_initializer="identity")(x)
        outputs[name] = keras.layers.Reshape(shape, name=name)(x)
    model = keras.Model(inputs, outputs)
    losses = {name: CASES[name].loss(**CASES[name].arguments) for name in names}
    model.compile(keras.optimizers.SGD(0.05), losses, **compile_arguments)
    return model


def _inputs(names: Sequence[str]) -> dict[str, np.ndarray]:
    return {f"{name}-inputs": CASES[name].predicted.reshape(ROWS, -1) for name in names}


def _true(names: Sequence[str]) -> dict[str, np.ndarray]:
    return {name: CASES[name].true for name in names}


def _fit(names: Sequence[str], epochs: int, **compile_arguments: Any) -> dict[str, list[float]]:
    """Return the losses of each case in the epochs of one step each."""
    model = _model(names, **compile_arguments)
    logs = model.fit(
        _inputs(names), _true(names), epochs=epochs, batch_size=ROWS, verbose=0
    ).history
    return {name: _loss(logs, name) for name in names}


def _evaluate(model: keras.Model, names: Sequence[str], **weights: Any) -> dict[str, float]:
    logs = model.evaluate(
        _inputs(names), _true(names), batch_size=ROWS, verbose=0, return_dict=True, **weights
    )
    return {name: _loss(logs, name) for name in names}


def _loss(logs: dict[str, Any], name: str) -> Any:
    return logs.get(f"{name}_loss", logs["loss"])  # Keras names no single output


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


@pytest.fixture(scope="module", params=[keras.models.load_model, kd.load])
def through_a_file(request: pytest.FixtureRequest, tmp_path_factory: Any) -> dict[str, Any]:
    """Save and load a model; for each case: its losses before and after, and the loaded loss."""

    def run(names: Sequence[str]) -> dict[str, Any]:
        path = tmp_path_factory.mktemp("losses") / "model.keras"
        model = _model(names)
        model.save(path)
        loaded = request.param(path)
        before, after = (_evaluate(each, names) for each in (model, loaded))
        return {name: (before[name], after[name], loaded.loss[name]) for name in names}

    return together(list(CASES), run)


def test_a_compiled_model_survives_its_file(case: LossCase, through_a_file: Any) -> None:
    before, after, loss = answer_of(through_a_file, case.id)
    assert after == pytest.approx(before)
    assert isinstance(loss, case.loss) and before > 0


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "jit"])
def history(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The losses of each case in eight epochs."""
    return together(list(CASES), lambda names: _fit(names, 8, jit_compile=request.param))


def test_training_lowers_it(case: LossCase, history: Any) -> None:
    losses = answer_of(history, case.id)
    alone = _value(case.loss(**case.arguments), case)
    if case.activation is None:  # the first output is the input
        assert losses[0] == pytest.approx(float(alone), rel=1e-4)
    assert np.isfinite(losses).all() and losses[-1] < losses[0]


WEIGHTS = np.linspace(0.1, 2, ROWS).astype("float32")


@pytest.fixture(scope="module")
def weighted_in_fit() -> dict[str, Any]:
    """For each case: the weighted loss in Keras's loop, and the outputs that it was of."""

    def run(names: Sequence[str]) -> dict[str, Any]:
        model = _model(names)
        losses = _evaluate(model, names, sample_weight=dict.fromkeys(names, WEIGHTS))
        outputs = model.predict(_inputs(names), verbose=0)
        return {name: (losses[name], outputs[name]) for name in names}

    return together(list(CASES), run)


def test_weights_of_rows(case: LossCase, weighted_in_fit: Any) -> None:
    loss = case.loss(**case.arguments)
    ones = np.ones(ROWS, "float32")
    assert _value(loss, case, sample_weight=ones) == pytest.approx(_value(loss, case), rel=1e-6)
    weighted = _value(loss, case, sample_weight=WEIGHTS)
    assert weighted != pytest.approx(_value(loss, case), rel=1e-3)
    in_fit, outputs = answer_of(weighted_in_fit, case.id)
    expected = float(loss(case.true, outputs, WEIGHTS))
    assert in_fit == pytest.approx(expected, rel=1e-5)


def test_reductions(case: LossCase) -> None:
    rows = _value(case.loss(**case.arguments, reduction="none"), case)
    assert rows.shape == (len(case.predicted),)
    for name, reduce in (("sum", np.sum), ("mean", np.mean), ("sum_over_batch_size", np.mean)):
        value = _value(case.loss(**case.arguments, reduction=name), case)
        assert value == pytest.approx(reduce(rows), rel=1e-5)


@pytest.fixture(scope="module", params=["float16", "bfloat16"])
def in_half_precision(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """A dtype, and the losses of each case in two epochs of mixed precision."""
    before = keras.mixed_precision.dtype_policy()
    try:
        keras.mixed_precision.set_dtype_policy(f"mixed_{request.param}")
        return request.param, together(list(CASES), lambda names: _fit(names, 2))
    finally:
        keras.mixed_precision.set_dtype_policy(before)


def test_mixed_precision(case: LossCase, in_half_precision: Any) -> None:
    """Half-precision outputs are taken in, computed in float32, and come out as `dtype` says."""
    dtype, history = in_half_precision
    full, _ = loss_gradient(case)
    half = keras.ops.cast(case.predicted, dtype)
    gradient, value = loss_gradient(case, half)
    digits = 3e-2 if dtype == "bfloat16" else 4e-3
    assert value == pytest.approx(_value(case.loss(**case.arguments), case), rel=digits)
    gradient = np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(gradient, "float32")))
    assert np.isfinite(gradient).all()
    assert np.linalg.norm(gradient - full) < 0.15 * np.linalg.norm(full)
    result = case.loss(**case.arguments, dtype=dtype)(case.true, half)
    assert keras.backend.standardize_dtype(result.dtype) == dtype
    assert np.isfinite(answer_of(history, case.id)).all()


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
    tensor = keras.ops.convert_to_tensor(place, "float64")
    gradient, _ = loss_gradient(case, tensor, dtype="float64")
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
