"""The parts of a run: the recipe, the folder, the history, what is said."""

from __future__ import annotations

import csv
import json
import math
import re

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_dlcourse.training import HistoryFile, Recipe, RunFolder, first_free, warmup_cosine
from keras_dlcourse.training.narration import Narrator


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"epochs": 0}, ValueError, "epochs must be an integer of at least 1. Received: 0"),
        ({"epochs": 2.5}, TypeError, "epochs must be an integer of at least 1. Received: 2.5"),
        ({"epochs": True}, TypeError, "Received: True"),
        (
            {"learning_rate": 0.0},
            ValueError,
            "learning_rate must be a finite number above 0. Received: 0.0",
        ),
        ({"learning_rate": math.nan}, ValueError, "Received: nan"),
        ({"learning_rate": "fast"}, TypeError, "learning_rate must be a finite number"),
        (
            {"warmup": 1.0},
            ValueError,
            "warmup must be a number of at least 0 and below 1. Received: 1.0",
        ),
        ({"warmup": None}, TypeError, "warmup must be a number"),
        (
            {"weight_decay": -0.1},
            ValueError,
            "weight_decay must be a finite number of at least 0. Received: -0.1",
        ),
        ({"seed": -1}, ValueError, "seed must be an integer from 0 to 4294967295. Received: -1"),
        ({"seed": None}, TypeError, "seed must be an integer"),
    ],
)
def test_recipe_refuses(arguments, error, match):
    with pytest.raises(error, match=match):
        Recipe(**arguments)


@given(st.integers(1, 400), st.floats(1e-4, 1), st.floats(0, 0.95))
@settings(max_examples=40, deadline=None)
def test_learning_rate_against_the_closed_form(steps, peak, warmup):
    rate, rising = warmup_cosine(steps, peak, warmup), round(warmup * steps)
    for step in {0, rising // 2, rising, (rising + steps) // 2, steps, steps + 5}:
        if step < rising:
            expected = peak * step / rising
        else:
            part = min(1, (step - rising) / max(1, steps - rising))
            expected = peak * (1 + math.cos(math.pi * part)) / 2
        assert float(rate(step)) == pytest.approx(expected, abs=1e-5 * peak)


def test_history_is_whole_after_every_epoch(tmp_path):
    history = HistoryFile(tmp_path / "history.csv")
    history.on_train_begin()
    for epoch in range(3):
        history.on_epoch_end(epoch, {"loss": np.float32(1 / (epoch + 1)), "val_loss": math.nan})
        with history.path.open() as file:
            rows = list(csv.DictReader(file))
        assert [int(row["epoch"]) for row in rows] == list(range(1, epoch + 2))
        assert float(rows[-1]["loss"]) == pytest.approx(1 / (epoch + 1))
        assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]
    assert history.columns["loss"] == pytest.approx([1, 1 / 2, 1 / 3])
    assert list(history.columns) == ["epoch", "loss", "val_loss", "seconds"]


def test_history_begins_anew_with_each_fit(tmp_path):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    history = HistoryFile(tmp_path / "history.csv")
    assert history.columns == {}
    for _ in range(2):
        model.fit(np.zeros((2, 1)), np.zeros(2), epochs=2, verbose=0, callbacks=[history])
    assert history.columns["epoch"] == [1, 2]


def test_run_folder_takes_new_and_empty_folders_only(tmp_path):
    RunFolder(tmp_path / "a" / "b")
    RunFolder(tmp_path / "a" / "b")  # still empty
    (tmp_path / "a" / "b" / "notes.txt").write_text("mine")
    with pytest.raises(
        FileExistsError, match=r"folder must be new or empty. .*b, which is not empty"
    ):
        RunFolder(tmp_path / "a" / "b")
    with pytest.raises(FileExistsError, match="is a file"):
        RunFolder(tmp_path / "a" / "b" / "notes.txt")
    assert (tmp_path / "a" / "b" / "notes.txt").read_text() == "mine"


def test_run_folder_says_when_the_disk_is_too_small(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.require_space(1)
    with pytest.raises(OSError, match=r"this run needs about 1,000,000,000,000 MB"):
        folder.require_space(10**18)


def test_json_of_a_run_is_strict(tmp_path):
    path = tmp_path / "results.json"
    RunFolder.write_json(path, {"loss": math.nan, "list": [math.inf, 1], "name": "日\udcff"})
    assert json.loads(path.read_text("ascii"))["list"] == [None, 1]
    assert "NaN" not in path.read_text("ascii")


def test_first_free_counts_up(tmp_path):
    path = tmp_path / "quickstart"
    assert first_free(path) == path
    path.mkdir()
    assert first_free(path).name == "quickstart-2"
    (tmp_path / "quickstart-2").write_text("")
    assert first_free(path).name == "quickstart-3"


def test_lines_in_a_pipe_are_plain_and_whole(capsys):
    say = Narrator()
    say("[bold] is not markup " + "x" * 200)
    out = capsys.readouterr().out
    assert out == f"0:00  [bold] is not markup {'x' * 200}\n"


def test_lines_in_a_terminal_are_folded_between_words(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    path = "/a/" + "b" * 60 + "/report.html"
    Narrator()(f"Done: 93.1% on the held-out test images. Report: {path}")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert lines[1:] == ["      images. Report:", f"      {path}"]
    assert lines[0] == "0:00  Done: 93.1% on the held-out test"


def test_json_keeps_lists_of_numbers_on_a_line(tmp_path):
    path, content = tmp_path / "r.json", {"matrix": [[1, -2.5e-7], [3, 4]], "names": ["[\n1]", "b"]}
    RunFolder.write_json(path, content)
    assert json.loads(path.read_text()) == content
    assert "[ 1, -2.5e-07 ]" in path.read_text()
