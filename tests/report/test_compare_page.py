"""Runs side by side: what is shown, what is marked, and what is refused."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys

import pytest

from keras_dlcourse import report
from keras_dlcourse.cli import main

CONFIG = {
    "model": "mobilenet_v2",
    "learning_rate": 0.002,
    "seed": 0,
    "task": "classify",
    "parameters": 1234,
    "data": {"name": "fruit", "classes": ["apple", "pear"], "train": 80, "test": 20},
    "versions": {"keras_dlcourse": "0.1.0", "keras": "3.15.1"},
    "machine": {"processor": "Quick 9"},
}
RESULTS = {
    "interrupted": False,
    "epochs": 2,
    "best_epoch": 2,
    "validation_accuracy": 0.9,
    "test": {"examples": 20, "accuracy": 0.85},
    "seconds": {"training": 61},
    "files": [
        {"file": "model.keras", "quantization": "Keras", "bytes": 9000},
        {"file": "model.int8.tflite", "quantization": "int8", "bytes": 4000, "passed": False},
    ],
    "verdict": {"level": "look here", "reasons": []},
}
HISTORY = "epoch,accuracy,loss,val_accuracy,val_loss,seconds\n1,0.5,2,0.4,,1\n2,0.75,1,0.9,1.5,2\n"


@pytest.fixture
def write(tmp_path):
    """Write the folder of a run, with changes to its files."""

    def write_run(name, config=None, results=None, history=HISTORY):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(CONFIG | (config or {})))
        (folder / "results.json").write_text(json.dumps(RESULTS | (results or {})))
        if history:
            (folder / "history.csv").write_text(history)
        return folder

    return write_run


def rows_of(html, caption):
    """Return the rows of a table: heading and cells."""
    table = html[html.index(f"<caption>{caption}</caption>") :].partition("</table>")[0]
    return [
        [re.sub("<.*?>", "", cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row)]
        for row in re.findall("<tr.*?</tr>", table)
    ]


def test_results_are_side_by_side(write, tmp_path):
    (write("a") / "report.html").touch()
    other = {"verdict": {"level": "good", "reasons": []}, "test": {"examples": 20, "accuracy": 0.9}}
    write("b", results=other)
    found = report.compare_runs([tmp_path / "a", tmp_path / "b"], tmp_path / "pages" / "c.html")
    html = found.path.read_text(encoding="utf-8")
    assert found.runs == ("a", "b")
    rows = rows_of(html, "Results of the runs")
    assert rows[:3] == [
        ["", "a", "b"],
        ["Verdict", "look here", "good"],
        ["Test accuracy", "85.0% of 20 images", "90.0% of 20 images"],
    ]
    assert ["Time, training", "1 min 1 s", "1 min 1 s"] in rows
    assert rows_of(html, "int8 files of the runs") == [
        ["", "a", "b"],
        ["agrees with Keras", "NO", "NO"],
        ["size", "4 kB", "4 kB"],
    ]
    assert 'href="./../a/report.html"' in html
    assert "b/report.html" not in html  # which is not there
    text = str(found)
    assert "Test accuracy" in text
    assert ("int8: size", "4 kB", "4 kB") in found.rows
    assert "not comparable" not in html
    assert "notice" not in html.partition("</style>")[2]


def test_curves_of_all_runs_are_in_one_chart(write, tmp_path):
    write("a")
    write("b", history=HISTORY.splitlines()[0] + "\n1,0.25,3,0.125,2.5,1\n")
    write("stopped in the first epoch", history=None)
    runs = [tmp_path / name for name in ("a", "b", "stopped in the first epoch")]
    html = report.compare_runs(runs, tmp_path / "c.html").path.read_text(encoding="utf-8")
    assert re.findall('class="title">(.*?)<', html) == [
        "validation accuracy",
        "validation loss",
        "training accuracy",
        "training loss",
    ]
    assert rows_of(html, "validation accuracy by epoch") == [
        ["epoch", "a", "b"],
        ["1", "40.0%", "12.5%"],
        ["2", "90.0%", "–"],
    ]
    assert rows_of(html, "validation loss by epoch")[1] == ["1", "–", "2.5"]
    assert 'aria-label="validation accuracy over the epochs: a ends at 90.0%, b ends' in html


def test_settings_that_differ_come_first_and_are_marked(write, tmp_path):
    write("a")
    write("b", {"seed": 1, "machine": {"processor": "Slow 1"}})
    html = report.compare_runs([tmp_path / "a", tmp_path / "b"], tmp_path / "c.html")
    html = html.path.read_text(encoding="utf-8")
    assert rows_of(html, "Recipe of the runs") == [
        ["", "a", "b"],
        ["≠ seed", "0", "1"],
        ["model", "mobilenet_v2", "mobilenet_v2"],
        ["learning rate", "0.002", "0.002"],
        ["task", "classify", "classify"],
    ]
    assert rows_of(html, "Machine and versions of the runs")[1][0] == "≠ processor"
    assert html.count('<tr class="marked">') == 2
    assert "1 of 4 differ and are marked ≠" in html
    assert "All are the same." in html  # the data


def test_a_run_of_an_earlier_version_has_dashes(write, tmp_path):
    write("a")
    old = write("old")
    config, results = copy.deepcopy(CONFIG), copy.deepcopy(RESULTS)
    for name in ("task", "machine", "parameters", "seed"):
        del config[name]
    for name in ("verdict", "seconds", "best_epoch"):
        del results[name]
    config["versions"]["keras_dlcourse"] = "0.0.9"
    (old / "config.json").write_text(json.dumps(config))
    (old / "results.json").write_text(json.dumps(results))
    html = report.compare_runs([tmp_path / "a", old], tmp_path / "c.html").path.read_text()
    assert ["Verdict", "look here", "–"] in rows_of(html, "Results of the runs")
    assert ["Parameters", "1,234", "–"] in rows_of(html, "Results of the runs")
    assert ["≠ seed", "0", "–"] in rows_of(html, "Recipe of the runs")
    assert ["≠ keras_dlcourse", "0.1.0", "0.0.9"] in rows_of(
        html, "Machine and versions of the runs"
    )


def test_an_interrupted_run_is_named_so(write, tmp_path):
    write("a")
    stopped = {"interrupted": True, "files": []}
    config = {name: value for name, value in RESULTS.items() if name != "verdict"}
    folder = write("b")
    (folder / "results.json").write_text(json.dumps(config | stopped))
    found = report.compare_runs([tmp_path / "a", folder], tmp_path / "c.html")
    assert ("Verdict", "look here", "interrupted") in found.rows
    assert ("int8: size", "4 kB", "–") in found.rows


def test_different_test_data_is_warned_of(write, tmp_path):
    write("a")
    write("b", {"data": CONFIG["data"] | {"test": 30, "train": 70}})
    html = report.compare_runs([tmp_path / "a", tmp_path / "b"], tmp_path / "c.html")
    html = html.path.read_text(encoding="utf-8")
    assert "The data of these runs differ in: test." in html
    assert html.index('class="notice look"') < html.index("Results of the runs")


def test_runs_of_a_task_of_ones_own_show_their_numbers(write, tmp_path):
    own = {"task": "brightness"}
    results = {"test": {"mae": 0.125, "note": "x"}, "validation_mae": 0.1}
    runs = [write(name, own, results, "epoch,mae,val_mae\n1,2,3\n") for name in ("a", "b")]
    for run in runs:
        written = json.loads((run / "results.json").read_text())
        del written["validation_accuracy"]  # which only classification has
        (run / "results.json").write_text(json.dumps(written))
    html = report.compare_runs(runs, tmp_path / "c.html").path.read_text(encoding="utf-8")
    rows = rows_of(html, "Results of the runs")
    assert ["Test mae", "0.125", "0.125"] in rows
    assert ["Validation mae", "0.1", "0.1"] in rows
    assert rows_of(html, "validation mae by epoch")[1] == ["1", "3", "3"]


def test_runs_of_the_same_name_are_told_apart(write, tmp_path):
    runs = [write("x/run"), write("y/run"), write("other")]
    found = report.compare_runs(runs, tmp_path / "c.html")
    assert found.runs == (str(runs[0].resolve()), str(runs[1].resolve()), "other")


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["a"], "runs must be 2 to 12 folders. Received: 1"),
        (["a", "a/../a"], "runs must be different folders. Received: .*a twice"),
        (["a", "nowhere"], "runs must be folders of runs. Received: nowhere, without config.json"),
        (["a", "begun"], "runs must have results. Received: begun, without results.json. .*resume"),
        (["a", "detect"], "of the same task. Received: 'classify' in a, 'detect' in detect. Comp"),
        (["a", "torn"], "torn/results.json must be JSON, as a run writes it. Received: "),
        (["a", "list"], "list/config.json must be a JSON object, .* Received: list"),
        (["a", "words"], "words/history.csv must be a table of numbers, .* Received: "),
    ],
)
def test_what_cannot_be_compared_is_refused(words, match, write, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write("a")
    (write("begun") / "results.json").unlink()
    write("detect", {"task": "detect"})
    (write("torn") / "results.json").write_text('{"epochs": 2')
    (write("list") / "config.json").write_text("[]")
    write("words", history="epoch,loss\n1,low\n")
    assert main(["compare", *words]) == 1
    assert re.search(match, capsys.readouterr().err)
    assert not (tmp_path / "compare.html").exists()


def test_one_folder_is_no_list_of_folders(write):
    with pytest.raises(ValueError, match="runs must be 2 to 12 folders. Received: 1"):
        report.compare_runs(str(write("a")))


def test_the_command_needs_no_keras(write, tmp_path):
    runs = [write("a"), write("b")]
    code = (
        "import sys; from keras_dlcourse.cli import main; code = main(sys.argv[1:]); "
        "assert not {'keras', 'tensorflow', 'jax', 'sklearn'} & set(sys.modules); sys.exit(code)"
    )
    words = ["compare", *map(str, runs), "-o", str(tmp_path / "c.html")]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Test accuracy" in done.stdout
    assert done.stdout.endswith(f"Curves and settings: {tmp_path / 'c.html'}\n")
