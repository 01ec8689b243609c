"""What every callback of the package keeps to."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from contract_cases import CALLBACKS, CallbackCase
from contract_kit import images

pytestmark = pytest.mark.parametrize("case", CALLBACKS, ids=lambda case: case.id)

IMAGES, LABELS = images((8, 8, 1), 12), np.arange(12) % 3


def _model() -> keras.Model:
    """Return a tiny network that ends in global average pooling and one dense layer."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _fit(callback: keras.callbacks.Callback, epochs: int = 2) -> keras.Model:
    model = _model()
    model.fit(
        IMAGES,
        LABELS,
        validation_data=(IMAGES, LABELS),
        epochs=epochs,
        verbose=0,
        callbacks=[callback],
    )
    return model


def _equal(one: Any, other: Any) -> bool:
    """Whether two states are the same, arrays and all."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(np.array_equal(one, other))


def test_is_a_callback_that_fit_takes_twice(case: CallbackCase, tmp_path: Path) -> None:
    callback = case.make(tmp_path, IMAGES)
    assert isinstance(callback, keras.callbacks.Callback)
    _fit(callback)
    _fit(callback)


def test_does_not_disturb_training(case: CallbackCase, tmp_path: Path) -> None:
    """One epoch with the callback gives the weights of one epoch without."""
    plain = _fit(keras.callbacks.Callback(), epochs=1)
    watched = _fit(case.make(tmp_path, IMAGES), epochs=1)
    for expected, actual in zip(plain.get_weights(), watched.get_weights(), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-7)


def test_state_survives_a_round_trip(case: CallbackCase, tmp_path: Path) -> None:
    has_state = hasattr(case.callback, "state_dict")
    assert has_state == case.has_state == hasattr(case.callback, "load_state_dict")
    if not has_state:
        pytest.skip("this callback keeps no state from epoch to epoch")
    callback, resumed = case.make(tmp_path, IMAGES), case.make(tmp_path, IMAGES)
    fresh = resumed.state_dict()
    _fit(callback)
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
