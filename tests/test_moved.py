"""Old names work for one version, with a warning."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import keras_dlcourse as kd

ROWS = np.arange(8.0).reshape(8, 1)


def test_the_old_name_of_an_argument_works_with_a_warning() -> None:
    with pytest.warns(FutureWarning, match="argument n of take is now called limit. Use limit="):
        old = kd.data.take(ROWS, n=3)
    np.testing.assert_array_equal(old.inputs, ROWS[:3])
    with pytest.warns(FutureWarning, match="draws of Bootstrap is now called samples") as log:
        assert kd.data.Bootstrap(draws=4).get_n_splits() == 4
    assert log[0].filename == __file__


def test_an_argument_has_one_value() -> None:
    with pytest.raises(TypeError, match="take received limit and its old name n. Omit n"):
        kd.data.take(ROWS, limit=3, n=3)
    with (
        pytest.raises(TypeError, match="multiple values for argument 'limit'"),
        pytest.warns(FutureWarning),
    ):
        kd.data.take(ROWS, 3, n=3)


def test_signatures_have_the_new_names_only() -> None:
    assert "limit" in inspect.signature(kd.data.take).parameters
    assert list(inspect.signature(kd.callbacks.TerminateOnNaN).parameters) == ["folder", "every"]
