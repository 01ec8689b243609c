"""The newcomer's first run."""

from __future__ import annotations

import dataclasses
import importlib

import pytest

from keras_dlcourse import training

# The function of that name hides the module.
module = importlib.import_module("keras_dlcourse.training.run.quickstart")


def test_default_folders_count_up(monkeypatch, tmp_path):
    called = []
    monkeypatch.setattr(module, "run", lambda data, folder, recipe, say: called.append(folder))
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        module.quickstart()
        called[-1].mkdir(parents=True)
    module.quickstart("elsewhere")
    assert [str(folder) for folder in called] == [
        "runs/quickstart",
        "runs/quickstart-2",
        "elsewhere",
    ]


def test_it_trains_the_small_network_on_the_data_of_the_package(monkeypatch):
    called = []
    monkeypatch.setattr(module, "run", lambda *arguments: called.append(arguments))
    module.quickstart("elsewhere")
    ((data, _, recipe, _),) = called
    assert data.name == "fashion_mnist_small"
    assert (recipe.model, recipe.alpha) == ("resnet18", 0.25)
    assert data.image_shape == (28, 28, 1)


@pytest.mark.slow
def test_a_short_quickstart_writes_files_that_agree(monkeypatch, tmp_path):
    """One epoch of a small network; the network itself is trained by README's block, too."""
    short = dataclasses.replace(module.RECIPE, model="lenet5", alpha=1.0, epochs=1)
    monkeypatch.setattr(module, "RECIPE", short)
    result = training.quickstart(tmp_path / "run")
    assert result.accuracy > 0.5
    _, float32, int8 = result.results["files"]
    assert float32["cause"] is None and int8["cause"] is None
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.release
def test_quickstart_reaches_its_accuracy(tmp_path):
    result = training.quickstart(tmp_path / "run")
    float32, int8 = result.results["files"][1:]
    assert result.accuracy >= 0.88
    assert result.results["verdict"]["level"] == "good"
    assert float32["max_error"] < 1e-5
    assert int8["accuracy"] >= float32["accuracy"] - 0.01
    assert int8["agreement"] >= 0.97
