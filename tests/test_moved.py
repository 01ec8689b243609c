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


@pytest.mark.parametrize(
    ("call", "renamed"),
    [
        (lambda folder: kd.export.bundle("m.tflite", output=folder), "output of bundle.*folder="),
        (lambda folder: kd.training.run(None, output=folder), "output of run.*folder="),
        (lambda folder: kd.training.quickstart(output=folder), "output of quickstart.*folder="),
        (lambda folder: kd.training.RunFolder(path=folder), "path of RunFolder.*folder="),
    ],
)
def test_folders_were_called_output(tmp_path, call, renamed) -> None:
    (tmp_path / "mine.txt").touch()
    with (
        pytest.warns(FutureWarning, match=renamed) as log,
        pytest.raises(FileExistsError, match="not empty"),
    ):
        call(tmp_path)
    assert log[0].filename == __file__


def test_files_were_called_file(tmp_path) -> None:
    with (
        pytest.warns(FutureWarning, match="file of preflight is now called path. Use path="),
        pytest.raises(FileNotFoundError, match="nowhere"),
    ):
        kd.export.preflight(file=tmp_path / "nowhere.tflite")
    with pytest.warns(FutureWarning, match="path of first_free is now called folder"):
        assert kd.training.first_free(path=tmp_path).name.endswith("-2")


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
