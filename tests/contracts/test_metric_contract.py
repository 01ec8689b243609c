"""What every metric of the package keeps to."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import numpy as np
import pytest
from cases.kinds import MetricCase
from cases.metrics import METRICS
from contract_kit import measured, result

pytestmark = pytest.mark.parametrize("case", METRICS, ids=lambda case: case.id)


def _no_loss(true: Any, predicted: Any) -> Any:
    return keras.ops.sum(keras.ops.zeros_like(predicted), axis=tuple(range(1, predicted.ndim)))


def _defaults(case: MetricCase) -> dict[str, Any]:
    """Return another value for each argument that has no default."""
    parameters = inspect.signature(case.metric.__init__).parameters
    needed = [
        name for name in case.arguments if parameters[name].default is inspect.Parameter.empty
    ]
    return {name: {"bounding_box_format": "xyxy", "classes": 3}[name] for name in needed}


def test_every_argument_survives_a_round_trip(case: MetricCase) -> None:
    parameters = inspect.signature(case.metric.__init__).parameters
    assert set(case.arguments) == set(parameters) - {"self", "name", "dtype"}
    for name, value in case.arguments.items():
        assert value != parameters[name].default
    metric = case.metric(**case.arguments, name="mine")
    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert type(twin) is case.metric and twin.name == "mine"
    assert {name: getattr(twin, name) for name in case.arguments} == case.arguments
    twin.update_state(case.true, case.predicted)
    assert result(twin) == result(measured(case))
    plain = case.metric(**_defaults(case))
    plain.update_state(case.true, case.predicted)
    assert result(plain) != result(twin), "the arguments change nothing"


def test_batches_do_not_matter_and_reset_forgets(case: MetricCase) -> None:
    metric = case.metric(**case.arguments)
    assert result(metric) == 0
    metric.update_state(case.true[:2] + 90, case.predicted[:2])
    metric.reset_state()
    for part in (slice(0, 1), slice(1, 4), slice(4, 6)):
        metric.update_state(case.true[part], case.predicted[part])
    assert 0 < result(metric) < 1
    np.testing.assert_allclose(result(metric), result(measured(case)), rtol=1e-6)


def test_a_weight_of_two_is_an_example_twice(case: MetricCase) -> None:
    weights = np.array([0, 1, 2, 1, 0, 1], "float32")
    twice = np.repeat(np.arange(6), weights.astype(int))
    repeated = case.metric(**case.arguments)
    repeated.update_state(case.true[twice], case.predicted[twice])
    weighted = measured(case, sample_weight=weights)
    np.testing.assert_allclose(result(weighted), result(repeated), rtol=1e-6)
    assert result(weighted) != result(measured(case))


def test_in_fit(case: MetricCase) -> None:
    """A model whose output is its input: what `evaluate` says is what the metric says alone."""
    x = inputs = keras.Input(case.predicted.shape[1:])
    model = keras.Model(inputs, keras.layers.Identity()(x))
    metric = case.metric(**case.arguments)
    if not case.compiles and keras.backend.backend() != "torch":  # which traces nothing
        model.compile(loss=_no_loss, metrics=[case.metric(**_defaults(case))], run_eagerly=False)
        with pytest.raises(ValueError, match="run_eagerly=True"):
            model.evaluate(case.predicted, case.true, verbose=0)
        if keras.backend.backend() != "tensorflow":
            return  # Keras traces metrics there even when all else runs eagerly
    model.compile(loss=_no_loss, metrics=[metric], run_eagerly=not case.compiles)
    logs = model.evaluate(case.predicted, case.true, batch_size=4, verbose=0, return_dict=True)
    np.testing.assert_allclose(logs[metric.name], result(measured(case)), rtol=1e-6)


def test_bad_arguments_are_refused_by_name(case: MetricCase) -> None:
    assert case.invalid, "name at least one argument that __init__ must refuse"
    for arguments, message in case.invalid:
        with pytest.raises((ValueError, TypeError), match=message):
            case.metric(**{**_defaults(case), **arguments})
