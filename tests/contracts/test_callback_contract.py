"""What every callback of the package keeps to."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from cases.callbacks import CALLBACKS
from cases.kinds import CallbackCase
from contract_kit import images, randomise

pytestmark = pytest.mark.parametrize("case", CALLBACKS, ids=lambda case: case.id)

IMAGES, LABELS = images((8, 8, 1), 12), np.arange(12) % 3


@pytest.fixture(scope="module")
def fit() -> Callable[..., list[np.ndarray]]:
    """Return a function that trains a fresh tiny network and returns its weights.

    It ends in global average pooling and one dense layer. It is one model, traced once, that starts
    anew each time.
    """
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    randomise(model)
    model.optimizer.build(model.trainable_variables)
    start = [np.array(weight) for weight in model.get_weights()]
    optimizer_start = [np.array(variable) for variable in model.optimizer.variables]

    def run(callback: keras.callbacks.Callback, epochs: int = 2) -> list[np.ndarray]:
        model.set_weights(start)
        for variable, value in zip(model.optimizer.variables, optimizer_start, strict=True):
            variable.assign(value)
        model.fit(
            IMAGES,
            LABELS,
            validation_data=(IMAGES, LABELS),
            epochs=epochs,
            verbose=0,
            shuffle=False,
            callbacks=[callback],
        )
        return model.get_weights()

    return run


@pytest.fixture(scope="module")
def plainly_trained(fit: Callable[..., list[np.ndarray]]) -> list[np.ndarray]:
    """The weights after one epoch without any of our callbacks."""
    return fit(keras.callbacks.Callback(), epochs=1)


def _equal(one: Any, other: Any) -> bool:
    """Whether two states are the same, arrays and all."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(np.array_equal(one, other))


def test_is_a_callback_that_fit_takes_twice(case: CallbackCase, tmp_path: Path, fit: Any) -> None:
    callback = case.make(tmp_path, IMAGES)
    assert isinstance(callback, keras.callbacks.Callback)
    fit(callback)
    fit(callback)


def test_does_not_disturb_training(
    case: CallbackCase, tmp_path: Path, fit: Any, plainly_trained: Any
) -> None:
    """One epoch with the callback gives the weights of one epoch without."""
    watched = fit(case.make(tmp_path, IMAGES), epochs=1)
    for expected, actual in zip(plainly_trained, watched, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-7)


def test_state_survives_a_round_trip(case: CallbackCase, tmp_path: Path, fit: Any) -> None:
    has_state = hasattr(case.callback, "state_dict")
    assert has_state == case.has_state == hasattr(case.callback, "load_state_dict")
    if not has_state:
        pytest.skip("this callback keeps no state from epoch to epoch")
    callback, resumed = case.make(tmp_path, IMAGES), case.make(tmp_path, IMAGES)
    fresh = resumed.state_dict()
    fit(callback)
    state = callback.state_dict()
    assert not _equal(state, fresh), "two epochs left no trace in the state"
    resumed.load_state_dict(state)
    assert _equal(resumed.state_dict(), state)


def test_bad_arguments_are_refused_by_name(case: CallbackCase) -> None:
    known = inspect.signature(case.callback.__init__).parameters
    assert case.invalid, "name at least one argument that __init__ must refuse"
    for arguments, message in case.invalid:
        assert set(arguments) <= set(known)
        with pytest.raises((ValueError, TypeError), match=message):
            case.callback(**{**case.required, **arguments})
