"""Every command on real files: what it prints, what it writes, how it ends."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings

import keras
import numpy as np
import pytest
from PIL import Image

import keras_dlcourse as kd
from keras_dlcourse.cli import main
from keras_dlcourse.cli.completion import SHELLS
from keras_dlcourse.cli.main import build_parser
from keras_dlcourse.edge import ImageClassifier

COMMANDS = (
    "quickstart",
    "train",
    "compare",
    "explain",
    "export",
    "inspect",
    "verify",
    "classify",
    "segment",
    "enroll",
    "identify",
    "benchmark",
    "bundle",
    "models",
)


def command(*words):
    return main([str(word) for word in words])


def usage_error(capsys, *words):
    with pytest.raises(SystemExit) as end:
        command(*words)
    assert end.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples(capsys, name):
    with pytest.raises(SystemExit) as end:
        command(name, "--help")
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert "examples:" in out
    assert re.search(rf"keras-dlcourse {name}", out.split("examples:")[1])


def test_help_lists_all_commands(capsys):
    help_text = build_parser().format_help()
    assert all(re.search(rf"^ +{name}\b", help_text, re.MULTILINE) for name in COMMANDS)


def test_no_words_print_help(capsys):
    assert command() == 0
    assert capsys.readouterr().out == build_parser().format_help()


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_the_version_is_printed(capsys, option):
    with pytest.raises(SystemExit) as end:
        command(option)
    assert end.value.code == 0
    assert capsys.readouterr().out == f"keras-dlcourse {kd.__version__}\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_the_completion_of_a_shell_is_printed(capsys, shell):
    with pytest.raises(SystemExit) as end:
        command("--print-completion", shell)
    assert end.value.code == 0
    script = capsys.readouterr().out
    assert all(name in script for name in (*COMMANDS, "skip-bad", "mobilenet_v2"))


def test_the_completion_knows_files_and_folders():
    from keras_dlcourse.cli.completion import _FILES, _FOLDERS

    parser = build_parser()
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    words = {a.metavar for command in commands.choices.values() for a in command._actions}
    values = {"A", "C", "COSINE", "D", "FRACTION", "K", "M", "M,M,...", "N", "S", "T", "X"}
    values |= {"R", "PATTERN", ("TRAIN", "VAL", "TEST")}
    names = {"LABEL", "NAME", "NETWORK", None}
    assert words - values - names == _FILES | _FOLDERS


def test_completion_without_shtab_is_one_sentence(capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *package: None)
    with pytest.raises(SystemExit) as end:
        command("--print-completion", "bash")
    assert end.value.code == 1
    assert capsys.readouterr().err == (
        "error: --print-completion needs shtab, which is not installed: pip install "
        "'keras-dlcourse[completion]'\n"
    )


def test_wrong_words_end_in_2(capsys):
    assert "invalid choice: 'trian'" in usage_error(capsys, "trian")
    assert "required: DIR" in usage_error(capsys, "train")
    assert "-o/--output" in usage_error(capsys, "export", "m.keras")
    assert "invalid choice: 'int4'" in usage_error(
        capsys, "export", "m.keras", "-o", "m.tflite", "--quantization", "int4"
    )
    assert "invalid choice: 'toaster'" in usage_error(
        capsys, "bundle", "m.tflite", "--target", "toaster", "-o", "x"
    )


def test_train_writes_the_whole_run(trained):
    names = {path.name for path in trained.iterdir()}
    assert {"config.json", "history.csv", "results.json", "model.keras", "report.html"} <= names
    assert {"model.float32.tflite", "model.int8.tflite"} <= names
    results = json.loads((trained / "results.json").read_text())
    assert results["test"]["examples"] == 12  # a tenth of each class
    assert "down &amp; &lt;b&gt;" in (trained / "report.html").read_text()


def test_explain_draws_every_method_asked_for(trained, photos, tmp_path, capsys):
    methods = "cam,grad-cam,eigen_cam,saliency"
    words = ["explain", trained / "model.keras", photos / "across", "--methods", methods]
    assert command(*words, "-o", tmp_path / "maps") == 0
    pictures = sorted((tmp_path / "maps").iterdir())
    assert len(pictures) == 9  # of 65 photos, eight in each
    assert capsys.readouterr().out.splitlines() == list(map(str, pictures))
    with Image.open(pictures[0]) as first, Image.open(pictures[-1]) as last:
        assert first.width == last.width and first.height > 3 * last.height


def test_explain_is_particular_about_its_words(trained, capsys):
    assert command("explain", trained / "model.keras", "a.png", "--methods", "cam,tea_leaves") == 2
    error = capsys.readouterr().err
    assert "must be some of cam, grad_cam" in error and "Received: 'tea_leaves'" in error
    words = ["--methods", "saliency", "--layer", "conv2d"]
    assert command("explain", trained / "model.keras", "a.png", *words) == 2
    assert "--layer does not apply to the method saliency" in capsys.readouterr().err


def test_train_refuses_a_folder_with_something_in_it(trained, photos, capsys):
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    assert command("train", photos, "--model", "tiny", "-o", trained) == 1
    err = capsys.readouterr().err
    assert re.fullmatch(
        r"error: --output must be new or empty.* is not empty. Nothing is overwritten.*\n", err
    )
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before


def test_train_names_bad_files_and_skips_them_if_told(tmp_path, photos, capsys):
    from shutil import copytree

    folder = copytree(photos, tmp_path / "photos")
    (folder / "across" / "broken.png").write_bytes((folder / "across" / "0.png").read_bytes()[:90])
    (folder / "across" / "notes.txt").write_text("no image")
    words = ["train", folder, "--model", "tiny", "--image-size", 32, "--epochs", 1]
    assert command(*words, "-o", tmp_path / "run") == 1
    lines = capsys.readouterr().err.splitlines()  # a line for each file
    assert lines[0] == "error: 2 of 132 files cannot be read as images:"
    assert "broken.png" in lines[1] and lines[1].startswith("  ")
    assert "notes.txt" in lines[2]
    assert "--skip-bad" in lines[3] and len(lines) == 4
    assert not (tmp_path / "run").exists()
    with pytest.warns(UserWarning, match="are skipped"):
        assert command(*words, "--skip-bad", "-o", tmp_path / "run") == 0


def test_explain_names_bad_files_and_skips_them_if_told(trained, photos, tmp_path, capsys):
    for number in range(3):
        photo = (photos / "across" / f"{number}.png").read_bytes()
        (tmp_path / f"{number}.png").write_bytes(photo[:90] if number == 1 else photo)
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("no image, and no name in UTF-8")
    words = ["explain", trained / "model.keras", tmp_path, "-o", tmp_path / "maps"]
    assert command(*words) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: 2 of 4 files cannot be read as images:"
    assert "1.png" in lines[1] and "--skip-bad" in lines[3]
    with pytest.warns(UserWarning, match="2 of 4 files"):
        assert command(*words, "--skip-bad") == 0
    assert len(list((tmp_path / "maps").iterdir())) == 1


def test_scans_that_do_not_fill_16_bits_are_asked_about(trained, photos, tmp_path, capsys):
    """The same question, and the same answer, in all commands."""
    for path in photos.rglob("*.png"):
        target = tmp_path / "scans" / path.relative_to(photos)
        target.parent.mkdir(parents=True, exist_ok=True)
        grey = np.asarray(Image.open(path).convert("L")).astype("uint16") << 4
        Image.fromarray(grey).save(target)
        Image.fromarray((grey >> 4).astype("uint8")).save(target.with_suffix(".bmp"))
    for path in (tmp_path / "scans").rglob("*.bmp"):
        plain = tmp_path / "plain" / path.relative_to(tmp_path / "scans")
        plain.parent.mkdir(parents=True, exist_ok=True)
        path.rename(plain)
    model, file = trained / "model.keras", trained / "model.int8.tflite"
    out = tmp_path / "out"
    for words in (
        ("train", "FOLDER", "--model", "tiny", "-o", out),
        ("explain", model, "FOLDER", "-o", out),
        ("export", model, "--quantization", "int8", "--calibration", "FOLDER", "-o", out),
        ("verify", model, file, "FOLDER"),
        ("classify", file, "PHOTO"),
        ("enroll", file, "across", "PHOTO", "-g", out),
    ):
        places = {"FOLDER": tmp_path / "scans", "PHOTO": tmp_path / "scans/across/0.png"}
        assert command(*[places.get(word, word) for word in words]) == 1
        err = capsys.readouterr().err
        assert re.match(r"error: \S+\.png: its values are stored in 16 bits but end at 4080", err)
        assert not out.exists()
    answers = []
    for photo, *bits in (("plain/across/0.bmp",), ("scans/across/0.png", "--bits", 12)):
        assert command("classify", file, tmp_path / photo, *bits) == 0
        answers.append(capsys.readouterr().out.splitlines()[1:])
    assert answers[0] == answers[1]
    assert command("verify", model, file, tmp_path / "scans", "--bits", 12) == 0


def test_the_folders_of_a_split_are_no_classes(tmp_path, photos, capsys):
    (tmp_path / "data").mkdir()
    for part in ("trainA", "trainB"):
        (tmp_path / "data" / part).symlink_to(photos)
    assert command("train", tmp_path / "data", "--model", "tiny", "-o", tmp_path / "run") == 1
    err = capsys.readouterr().err
    assert "trainA, trainB are named like parts of a data set" in err
    assert "2 of them contain the same folders (across, down & <b>)" in err
    assert "/data/trainA, which is then split" in err and "--classes" in err
    words = ["train", tmp_path / "data", "--classes", "trainA", "nowhere", "--model", "tiny"]
    assert command(*words, "-o", tmp_path / "run") == 1
    assert "Missing: nowhere. Available: trainA, trainB" in capsys.readouterr().err


def test_a_model_knows_its_classes_whatever_they_are_called(trained, photos):
    from keras_dlcourse.cli.model_input import load_labeled_images, load_model

    folders = photos.parent / "renamed"
    folders.mkdir()
    for name, target in (("test", "across"), ("train", "down & <b>")):
        (folders / name).symlink_to(photos / target)
    model = load_model(trained / "model.keras")
    images = load_labeled_images(model, folders, ("train", "test"))
    assert images.class_names == ("train", "test")
    assert images.labels.tolist() == [1] * 65 + [0] * 65
    with pytest.raises(ValueError, match="test, train are named like parts"):
        load_labeled_images(model, folders, None)


def test_warnings_are_what_they_say(monkeypatch, capsys):
    from keras_dlcourse.cli import inspect

    def run(options):
        warnings.warn("2 files:\n  a\n  b\nThey are skipped.", stacklevel=1)

    def show(message, category, filename, lineno, file=None, line=None):  # as Python does
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))

    monkeypatch.setattr(inspect, "run", run)
    monkeypatch.setattr(warnings, "showwarning", show)
    usual = warnings.formatwarning
    assert command("inspect", "any.tflite") == 0
    assert capsys.readouterr().err == "warning: 2 files:\n  a\n  b\nThey are skipped.\n"
    assert warnings.formatwarning is usual


def test_a_value_of_the_wrong_type_is_one_sentence(monkeypatch, capsys):
    from keras_dlcourse._checks import check_integer
    from keras_dlcourse.cli import inspect

    monkeypatch.setattr(inspect, "run", lambda options: check_integer("limit", "3"))
    assert command("inspect", "any.tflite") == 1
    said = "error: limit must be an integer of at least 1. Received: '3'\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("module", ["keras_dlcourse.edge", "keras_dlcourse"])
def test_an_ascii_locale_prints_all_names(module, trained, tmp_path):
    names = [os.fsencode(tmp_path) + name for name in (b"/\xe9t\xe9.png", "/été.png".encode())]
    for name in names:
        Image.new("RGB", (40, 30), "red").save(os.fsdecode(name))
    (tmp_path / "labels.txt").write_text("café\nzèbre\n", encoding="utf-8")
    words = ["classify", trained / "model.int8.tflite", *names, "--labels", tmp_path / "labels.txt"]
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        capture_output=True,
        env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": ""},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("café".encode()) == 2
    assert all(name + b"\n" in done.stdout for name in names)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "nowhere", "--model", "tiny", "-o", "run"), "nowhere is not a folder"),
        (("train", "PHOTOS", "--model", "tinny", "-o", "run"), "There is no model named 'tinny'"),
        (("train", "PHOTOS", "--model", "tiny", "--epochs", "0", "-o", "run"), "epochs must be"),
        (("train", "PHOTOS/across", "--model", "tiny", "-o", "run"), "no folders"),
        (("export", "nowhere.keras", "-o", "m.tflite"), "there is no file nowhere.keras"),
        (("export", "RUN/model.int8.tflite", "-o", "m.tflite"), "must be a .keras file"),
        (("export", "RUN/model.keras", "-o", "m.tflite", "--labels", "nowhere.txt"), "nowhere.txt"),
        (("explain", "RUN/model.keras", "nowhere.png"), "nowhere.png: no such file or folder"),
        (("explain", "RUN/model.keras", "PHOTOS", "--class", "cat"), "Class names: across, down"),
        (("explain", "RUN/model.keras", "PHOTOS", "--class", "7"), "classes 0 to 1"),
        (("explain", "RUN/model.keras", "PHOTOS", "--layer", "conv"), "no layer 'conv'"),
        (("inspect", "nowhere.tflite"), "nowhere.tflite: No such file or directory"),
        (("inspect", "RUN/model.keras"), "is a zip archive, not a .tflite file"),
        (("classify", "RUN/model.keras", "a.png"), "is a zip archive, not a .tflite file"),
        (("verify", "RUN/model.keras", "RUN/report.html", "PHOTOS"), "is not a .tflite file"),
        (("verify", "RUN/model.keras", "RUN/model.int8.tflite", "nowhere"), "is not a folder"),
        (("verify", "RUN/model.keras", "RUN/model.int8.tflite", "PHOTOS/across"), "no folders"),
        (("bundle", "RUN/report.html", "--target", "raspberry-pi", "-o", "x"), "not a .tflite"),
    ],
)
def test_user_errors_are_one_sentence(
    words, message, trained, photos, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    places = {"RUN": str(trained), "PHOTOS": str(photos)}
    words = [re.sub("^(RUN|PHOTOS)", lambda match: places[match[0]], word) for word in words]
    assert command(*words) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err
    assert captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# What is said before Keras, which takes long, is imported.
EARLY = (
    ("train", "nowhere", "--model", "lenet5", "-o", "OUT", "nowhere is not a folder"),
    ("train", "PHOTOS/across", "--model", "lenet5", "-o", "OUT", "no folders"),
    ("train", "PHOTOS", "--model", "lenet", "-o", "OUT", "Did you mean 'lenet5'?"),
    ("train", "PHOTOS", "--resume", "--resume needs the folder of the run, -o RUN"),
    ("train", "PHOTOS", "-o", "OUT", "--config", "nowhere.json", "nowhere.json: No such file"),
    ("train", "PHOTOS", "--model", "lenet5", "-o", "RUN", "--output must be new or empty"),
    ("train", "PHOTOS", "--model", "lenet5", "-o", "RUN/a/b", "run/a is not a writable folder"),
    ("train", "PHOTOS", "--resume", "-o", "OUT", "--output must be the folder of a run to resume"),
    ("train", "PHOTOS", "--model", "lenet5", "-o", "PHOTOS/x", "RUN must be outside of DIR"),
    *(
        ("train", "PHOTOS", "--model", "lenet5", "-o", "OUT", option, value, message)
        for option, value, message in (
            ("--task", "clasify", "--task must be one of 'classify', 'multilabel', 'segment'."),
            ("--alpha", "0", "--alpha must be a finite number above 0. Received: 0.0"),
            ("--epochs", "0", "--epochs must be an integer of at least 1. Received: 0"),
            ("--image-size", "0", "--image-size must be an integer of at least 1. Received: 0"),
            ("--time", "10", "--time must be a number and a unit, such as 90s, 10m or 1.5h"),
            ("--batch-size", "0", "--batch-size must be an integer of at least 1. Received: 0"),
            ("--learning-rate", "0", "--learning-rate must be a finite number above 0"),
            ("--config", "RUN/a", "a must have names with values: Expecting value"),
            ("--bits", "20", "bits must be an integer from 8 to 16. Received: 20"),
            ("--classes", "across", "class_names must name two or more classes"),
            ("--cache", "PHOTOS/x", "cache must be a folder outside of"),
            ("--cache", "RUN/a", "cache cannot be written. Received: "),
        )
    ),
    *(
        (command, "PHOTOS", *words, message)
        for command in ("data", "train")
        for *words, message in (
            ("--split", "70", "20", "20", "whose sum is 1 or 100. Received: 70 20 20"),
            ("--group-by", "(", "group_by must be a regular expression with one group"),
            ("--image-size", "0", "--image-size must be an integer of at least 1. Received: 0"),
        )
    ),
    ("data", "nowhere", "nowhere is not a folder"),
    ("data", "PHOTOS", "--bits", "20", "bits must be an integer from 8 to 16. Received: 20"),
    ("data", "PHOTOS", "--cache", "PHOTOS/x", "cache must be a folder outside of"),
    ("train", "PHOTOS", "--weights", "nowhere.keras", "nowhere.keras, which does not exist"),
    ("train", "PHOTOS", "MASKS", "-o", "OUT", "MASKS is for --task segment only"),
    ("train", "--task", "segment", "PHOTOS", "-o", "OUT", "masks must be the folder of the masks"),
    ("train", "--task", "segment", "PHOTOS", "nowhere", "-o", "OUT", "nowhere is not a folder"),
    ("train", "--task", "segment", "PHOTOS", "OTHERS", "-o", "OUT", "classes must name the"),
    (
        *("train", "--task", "segment", "PHOTOS", "OTHERS", "-o", "OUT", "--classes", "a", "b"),
        "Each image must have a mask of the same name",
    ),
    ("quickstart", "-o", "RUN", "--output must be new or empty"),
    ("explain", "nowhere.keras", "PHOTO", "there is no file nowhere.keras"),
    ("explain", "RUN", "PHOTO", "run is a folder without saved_model.pb"),
    ("explain", "RUN/m.keras", "nowhere.png", "nowhere.png: no such file or folder"),
    ("explain", "RUN/m.keras", "RUN/a", "1 of 1 files cannot be read as images"),
    ("explain", "RUN/m.keras", "PHOTO", "-o", "RUN/a", "run/a is not a writable folder"),
    ("explain", "RUN/m.keras", "PHOTO", "--methods", "cam,tea", "Received: 'tea'"),
    ("explain", "RUN/m.keras", "PHOTO", "--bits", "99", "bits must be an integer from 8 to 16"),
    ("export", "RUN/m.h5", "-o", "OUT", "m.h5 must be a .keras file"),
    ("export", "RUN/m.keras", "-o", "RUN", "--output must name the file to write"),
    ("export", "RUN/m.keras", "-o", "RUN/a/b", "run/a is not a writable folder"),
    ("export", "RUN/m.keras", "-o", "OUT", "--labels", "nowhere.txt", "nowhere.txt: No such file"),
    ("export", "RUN/m.keras", "-o", "OUT", "--bits", "12", "are about the images in --calibration"),
    ("export", "RUN/m.keras", "-o", "OUT", "--mean", "0", "must be given together"),
    ("export", "RUN/m.keras", "-o", "OUT", "--mean", "0", "--std", "0", "std must be"),
    ("export", "RUN/m.keras", "-o", "OUT", "--calibration", "nowhere", "nowhere is not a folder"),
    (
        "export",
        "RUN/m.keras",
        "-o",
        "OUT",
        "--calibration",
        "PHOTOS",
        "--bits",
        "5",
        "from 8 to 16",
    ),
    ("export", "RUN/m.keras", "-o", "OUT", "--quantization", "int8", "needs --calibration DIR"),
    (
        *("export", "RUN/m.keras", "-o", "OUT", "--quantization", "int8"),
        *("--calibration", "PHOTOS/across", "--calibration must have at least 100 images"),
    ),
    (
        *("export", "RUN/m.keras", "-o", "RUN", "--target", "microcontroller"),
        *("--calibration", "PHOTOS", "--output must be new or empty"),
    ),
    ("verify", "nowhere.keras", "RUN/m.tflite", "PHOTOS", "there is no file nowhere.keras"),
    ("verify", "RUN/m.keras", "RUN/a", "PHOTOS", "is not a .tflite file"),
    ("verify", "RUN/m.keras", "RUN/m.tflite", "nowhere", "nowhere is not a folder"),
    ("verify", "RUN/m.keras", "RUN/m.tflite", "PHOTOS/across", "no folders"),
    ("verify", "RUN/m.keras", "RUN/m.tflite", "OTHERS", "not classes of the model: cat, dog"),
    ("verify", "RUN/m.keras", "RUN/m.tflite", "PHOTOS", "--bits", "7", "from 8 to 16"),
    ("verify", "RUN/m.keras", "RUN/m.tflite", "PHOTOS", "OTHERS", "MASKS is for segmenters only"),
    ("models", "lenet", "Did you mean 'lenet5'?"),
    ("models", "lenet5", "--alpha", "-1", "--alpha must be a finite number above 0"),
    ("models", "--alpha", "0.5", "--alpha and --image-size need the name of a network"),
    ("inspect", "nowhere.tflite", "nowhere.tflite: No such file or directory"),
    ("preflight", "RUN/a", "is not a .tflite file"),
    ("preflight", "RUN/m.tflite", "--targets", "toaster", "--targets must be some of"),
    ("bundle", "RUN/m.tflite", "--target", "raspberry-pi", "-o", "RUN", "folder must be new or"),
)
WITHOUT_KERAS = """
import contextlib, io, json, sys
from keras_dlcourse.cli import main
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stderr(io.StringIO()) as said:
        code = main(words)
    print(json.dumps([code, said.getvalue(), "keras" in sys.modules]))
"""


def test_mistakes_are_reported_before_keras_is_imported(trained, photos, tmp_path):
    run, others = tmp_path / "run", tmp_path / "others"
    run.mkdir()
    for name in ("a", "m.keras", "m.h5"):
        (run / name).write_bytes(b"anything")
    (run / "m.tflite").symlink_to(trained / "model.int8.tflite")
    for name in ("cat", "dog"):
        (others / name).mkdir(parents=True)
    places = {"RUN": run, "OUT": tmp_path / "out", "PHOTOS": photos, "OTHERS": others}
    places |= {"PHOTO": photos / "across" / "0.png"}

    def fill(word):
        return re.sub("^[A-Z]+", lambda match: str(places.get(match[0], match[0])), word)

    turns = [list(map(fill, words)) for *words, _ in EARLY]
    words = [sys.executable, "-c", WITHOUT_KERAS, json.dumps(turns)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(found) == len(EARLY)
    for (*words, message), (code, said, has_keras) in zip(EARLY, found, strict=True):
        assert code in (1, 2) and message in said, (words, said)
        assert said.startswith("error: ") and not has_keras, words
    assert not (tmp_path / "out").exists()


def test_what_is_known_without_keras_is_what_there_is():
    from keras_dlcourse.cli import explain, export, train
    from keras_dlcourse.export.conversion.schemes import SCHEMES
    from keras_dlcourse.export.outputs import KINDS
    from keras_dlcourse.export.writing.output import KIND_NAMES
    from keras_dlcourse.models.costs import read_costs
    from keras_dlcourse.training.run.tasks import TASKS

    assert tuple(kd.explain.METHODS) == explain.METHODS
    assert set(train.CHECKS) == {name for name, task in TASKS.items() if task.read is not None}
    assert tuple(KINDS) == KIND_NAMES
    assert {"tiny", *(cost.name for cost in read_costs())} == set(kd.models.names())
    assert tuple(SCHEMES) == export.QUANTIZATIONS


@pytest.mark.parametrize("option", ["--min-agreement", "--max-accuracy-loss", "--min-cosine"])
def test_a_limit_that_is_no_number_is_refused(capsys, option):
    """A comparison with NaN would be of no consequence."""
    words = ["verify", "m.keras", "m.tflite", "photos", option]
    assert "must be a number. Received: 'nan'" in usage_error(capsys, *words, "nan")


def test_debug_shows_where_an_error_came_from(monkeypatch):
    monkeypatch.setenv("KERAS_DLCOURSE_DEBUG", "1")
    with pytest.raises(OSError, match="nowhere.tflite"):
        command("inspect", "nowhere.tflite")


def test_faults_of_ours_keep_their_traceback(monkeypatch):
    from keras_dlcourse.cli import inspect

    def bug(options):
        raise KeyError("bug")

    monkeypatch.setattr(inspect, "run", bug)
    with pytest.raises(KeyError, match="bug"):
        command("inspect", "x.tflite")


def test_export_reads_what_the_model_records(trained, tmp_path, capsys):
    output = tmp_path / "new" / "model.tflite"
    assert command("export", trained / "model.keras", "-o", output) == 0
    assert "float32" in capsys.readouterr().out
    ours, theirs = ImageClassifier(output), ImageClassifier(trained / "model.float32.tflite")
    assert ours.labels == theirs.labels == ("across", "down & <b>")
    assert ours.model_file.metadata.normalization == theirs.model_file.metadata.normalization


def test_export_int8_is_calibrated_on_a_folder(trained, photos, tmp_path, capsys):
    words = ["export", trained / "model.keras", "-o", tmp_path / "m.tflite"]
    assert command(*words, "--quantization", "int8") == 2
    err = capsys.readouterr().err
    assert "--quantization int8 needs --calibration DIR" in err
    assert "keras-dlcourse export --help" in err
    assert command(*words, "--quantization", "int8", "--calibration", photos / "across") == 1
    err = capsys.readouterr().err
    assert "at least 100 images" in err and err.endswith(
        f"{photos / 'across'} with 65. Pass a folder of the training images\n"
    )
    assert command(*words, "--quantization", "int8", "--calibration", tmp_path / "none") == 1
    assert "--calibration: " in capsys.readouterr().err
    assert not (tmp_path / "m.tflite").exists()
    assert command(*words, "--quantization", "int8", "--calibration", photos) == 0
    assert ImageClassifier(tmp_path / "m.tflite").model_file.inputs[0].dtype == "uint8"


def test_export_of_a_quantization_aware_model_needs_no_images(trained, tmp_path, capsys):
    aware = kd.quantize.quantization_aware(keras.saving.load_model(trained / "model.keras"))
    pixels = np.random.default_rng(0).integers(0, 256, (32, *aware.input_shape[1:]))
    kd.quantize.calibrate(aware, kd.layers.describe(aware).normalization(pixels))
    aware.save(tmp_path / "aware.keras")
    assert command("export", tmp_path / "aware.keras", "-o", tmp_path / "m.tflite") == 0
    assert ", int8, in" in capsys.readouterr().out
    words = ["export", tmp_path / "aware.keras", "-o", tmp_path / "n.tflite"]
    assert command(*words, "--quantization", "int8") == 0
    assert not kd.export.inspect(tmp_path / "m.tflite").float_islands


def test_export_asks_for_a_normalization_that_nothing_tells(tmp_path, photos, capsys):
    layers = [keras.Input((32, 32, 3)), keras.layers.GlobalAveragePooling2D()]
    keras.Sequential(layers).save(tmp_path / "m.keras")
    words = ["export", tmp_path / "m.keras", "-o", tmp_path / "m.tflite", "--calibration", photos]
    assert command(*words) == 2
    assert "--mean 0 --std 255 for images divided by 255" in capsys.readouterr().err
    assert command(*words, "--mean", 0, "--std", 255) == 0
    assert "deviation 255 (from preprocessing)" in capsys.readouterr().out


def test_export_takes_labels_from_a_file(trained, tmp_path, capsys):
    labels, words = tmp_path / "labels.txt", ["export", trained / "model.keras"]
    labels.write_bytes("\ufeffgauche\r\nà droite\r\n\r\n".encode())
    output = tmp_path / "m.tflite"
    assert command(*words, "-o", output, "--labels", labels) == 0
    assert ImageClassifier(output).labels == ("gauche", "à droite")
    for content, message in ((b"", "is empty"), (b"\xff\xfe\x00", "is not a text file in UTF-8")):
        labels.write_bytes(content)
        assert command(*words, "-o", output, "--labels", labels) == 1
        assert message in capsys.readouterr().err
    assert ImageClassifier(output).labels == ("gauche", "à droite")  # still the old file


def test_inspect_and_models_and_benchmark_print(trained, capsys):
    assert command("inspect", trained / "model.int8.tflite") == 0
    assert "CONV_2D" in capsys.readouterr().out
    assert command("models") == 0
    assert {"mobilenet", "mobilenet_v2"} <= set(capsys.readouterr().out.split())
    assert command("benchmark", trained / "model.int8.tflite", "--runs", 3) == 0
    assert "ms" in capsys.readouterr().out


def test_verify_compares_on_a_folder(trained, photos, tmp_path, capsys):
    words = ["verify", trained / "model.keras", trained / "model.float32.tflite"]
    assert command(*words, photos, "--min-agreement", 1) == 0
    out = capsys.readouterr().out
    assert out.startswith("scores the 12 of 130 images that the run held out\n")
    assert "12 examples" in out
    assert "100.00%" in out
    assert command(*words, photos, "--max-accuracy-loss", "-0.5") == 1
    assert "max_accuracy_loss" in capsys.readouterr().err


def test_verify_says_which_images_it_scores(trained, photos, tmp_path, capsys):
    """Whatever they are called, and however they are arranged."""

    def say(folder, run=trained):
        assert command("verify", run / "model.keras", trained / "model.int8.tflite", folder) == 0
        out = capsys.readouterr().out
        return out.splitlines()[0], out

    def copy(part, target, more=b""):
        for index, path in enumerate(part):
            place = target / path.parent.name / f"{index}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes() + more)

    files = kd.data.image_folder(
        photos, image_size=32
    ).files.paths  # the same split, by the same seed
    expected = json.loads((trained / "results.json").read_text())["test"]["accuracy"]
    moved = tmp_path / "moved"
    copy([*files["train"][:20], *files["train"][-20:], *files["test"]], moved / "train")
    copy(files["test"], moved / "test")
    line, out = say(moved)
    assert line == "scores the 24 of 64 images that the run held out"
    assert f"{expected:.2%}" in out

    learned = tmp_path / "learned"
    copy([*files["train"], *files["validation"][:3]], learned)
    line, out = say(learned)
    assert line == (
        f"measures no accuracy: of the 109 images in {learned}, 106 were used for training and 3 "
        "to choose the weights. Pass a folder with images that the run held out, or with new ones"
    )
    assert re.search(r"^ *accuracy +– +–", out, re.M) and out.endswith("agrees\n")

    new = tmp_path / "new"
    copy([*files["train"][:3], *files["train"][-3:]], new, b"other bytes")
    assert say(new)[0] == "scores all 6 images: the run used none of them"
    for name in ("across", "down & <b>"):
        copy([path for path in files["test"] if path.parent.name == name], new / name)
    copy(files["train"][:9], new / "across" / "known")
    line = "scores the 18 of 27 images that the run held out; 6 of them are new to it"
    assert say(new)[0] == line

    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "model.keras").write_bytes((trained / "model.keras").read_bytes())
    assert say(photos, bare)[0] == (
        "some of these images may have been used for training: there is no split.json of a run "
        f"beside {bare / 'model.keras'}. If so, the accuracies are too high: pass images that were "
        "not"
    )
    assert say(moved, bare)[0] == "scores the 12 of 64 images in its test part"


def test_verify_ends_in_1_for_a_file_that_does_not_agree(trained, photos, tmp_path, capsys):
    """Without being asked for a limit."""
    model = keras.saving.load_model(trained / "model.keras")
    model.layers[-1].set_weights([-weight for weight in model.layers[-1].get_weights()])
    model.save(tmp_path / "other.keras")
    words = ["verify", tmp_path / "other.keras", trained / "model.float32.tflite", photos]
    assert command(*words) == 1
    said = capsys.readouterr()
    assert said.out.rstrip().splitlines()[-1].startswith("does not agree: other weights")
    assert "max_relative_error=0.001, measured" in said.err and "other weights" in said.err


def test_verify_of_an_embedder_takes_any_images(photos, tmp_path, capsys):
    layers = [keras.Input((32, 32, 3)), keras.layers.Conv2D(6, 3, activation="relu")]
    model = kd.models.embedding_model(keras.Sequential(layers), 5)
    model.save(tmp_path / "m.keras")
    kd.export.to_tflite(
        model, tmp_path / "m.tflite", preprocessing=kd.data.Normalization.identity()
    )
    words = ["verify", tmp_path / "m.keras", tmp_path / "m.tflite", photos / "across"]
    assert command(*words, "--min-cosine", 0.999) == 0
    assert "smallest cosine" in capsys.readouterr().out
    assert command(*words, "--min-cosine", 1.5) == 1
    assert "min_cosine=1.5, measured" in capsys.readouterr().err


def test_verify_goes_by_the_names_of_the_classes(trained, photos, tmp_path, capsys):
    """A class that is missing must not shift the numbers of the others."""
    part = tmp_path / "part"
    part.mkdir()
    (part / "down & <b>").symlink_to(photos / "down & <b>")
    (part / "dawn").symlink_to(photos / "across")
    words = ["verify", trained / "model.keras", trained / "model.float32.tflite"]
    assert command(*words, part) == 1
    assert (
        "not classes of the model: dawn. The classes are: across, down" in capsys.readouterr().err
    )


def test_classify_names_what_it_sees(trained, photos, capsys):
    image = photos / "down & <b>" / "0.png"
    assert command("classify", trained / "model.int8.tflite", image) == 0
    out = capsys.readouterr().out
    assert "across" in out
    assert "down & <b>" in out


def test_bundle_makes_a_folder(trained, tmp_path, capsys):
    words = ["bundle", trained / "model.int8.tflite", "--target", "raspberry-pi"]
    assert command(*words, "-o", tmp_path / "pi") == 0
    assert (tmp_path / "pi" / "SHA256SUMS").exists()
    assert command(*words, "-o", tmp_path / "pi") == 1
    assert "is not empty" in capsys.readouterr().err


def test_ctrl_c_in_training_ends_in_1(photos, tmp_path, monkeypatch, capsys):
    def press(self, epoch, logs=None):
        raise KeyboardInterrupt

    from keras_dlcourse.training import HistoryFile

    monkeypatch.setattr(HistoryFile, "on_epoch_begin", press, raising=False)
    words = ["train", photos, "--model", "tiny", "--image-size", 32, "--epochs", 1]
    assert command(*words, "-o", tmp_path / "run") == 1
    assert "keras-dlcourse export" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "results.json").read_text())["interrupted"] is True
    assert keras.saving.load_model(tmp_path / "run" / "model.keras")


def in_process(*words, **environment):
    return subprocess.run(
        [sys.executable, "-m", "keras_dlcourse", *map(str, words)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=500,
        check=False,
    )


def test_the_device_commands_import_no_keras(trained, tmp_path):
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    for module in ("keras", "tensorflow", "matplotlib", "rich"):
        (tmp_path / f"{module}.py").write_text(f"raise RuntimeError('{module} was imported')")
    gallery = tmp_path / "gallery.kdg"
    device = {"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    for words in (
        ("classify", trained / "model.int8.tflite", tmp_path / "red.png"),
        ("benchmark", trained / "model.int8.tflite", "--runs", 2),
        # Scores are vectors, too.
        ("enroll", trained / "model.int8.tflite", "red", tmp_path / "red.png", "-g", gallery),
        ("identify", trained / "model.int8.tflite", tmp_path / "red.png", "-g", gallery),
        ("train", "--help"),
        ("--version",),
        (),
    ):
        done = in_process(*words, **device)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""  # not even the runtime's note that it uses XNNPACK
        assert done.stdout


# What `python -m keras_dlcourse.cli` runs, for two lists of words: the second ends the process.
ONE_AFTER_THE_OTHER = """
import json, runpy, sys
for words in json.loads(sys.argv[1]):
    sys.argv[1:] = words
    try:
        runpy.run_module("keras_dlcourse.cli", run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
        print("exit 0")
        print("--", file=sys.stderr)
"""


def test_a_process_is_quiet_and_ends_in_its_exit_code(trained, tmp_path):
    """TensorFlow's notes do not reach the terminal, whatever the command ends in."""
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_text("one\ntwo\n")
    bad.write_text("one\ntwo\nthree\n")
    words = ["export", trained / "model.keras", "-o", tmp_path / "m.tflite", "--labels"]
    turns = [[*map(str, words), str(labels)] for labels in (good, bad)]
    done = subprocess.run(
        [sys.executable, "-c", ONE_AFTER_THE_OTHER, json.dumps(turns)],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 1
    said, refused = done.stdout.split("exit 0\n")
    assert said.startswith(str(tmp_path / "m.tflite"))
    assert refused == ""
    assert re.fullmatch(r"Starting Keras and its backend\n--\nerror: .*3.*2.*\n", done.stderr)


@pytest.mark.slow
def test_a_real_ctrl_c_keeps_the_best_weights(photos, tmp_path):
    """The signal of a terminal, to the whole process, in the middle of a training."""
    run = tmp_path / "run"
    words = ["train", photos, "--model", "lenet5", "--image-size", "32"]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "keras_dlcourse.cli",
            *map(str, words),
            "--epochs",
            "5000",
            "-o",
            run,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    history = run / "history.csv"
    deadline = time.monotonic() + 240
    while not history.exists() or len(history.read_text().splitlines()) < 3:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert "keras-dlcourse export" in output
    assert json.loads((run / "results.json").read_text())["interrupted"] is True
    assert (run / "report.html").exists()
    assert not list(run.glob("*.tflite"))
    assert command("export", run / "model.keras", "-o", run / "model.tflite") == 0
    assert ImageClassifier(run / "model.tflite").labels == ("across", "down & <b>")


def test_resume_takes_the_run_as_it_was_begun(photos, tmp_path, monkeypatch, capsys):
    from keras_dlcourse.training import HistoryFile

    words = ["train", photos, "-o", tmp_path / "run"]
    assert command(*words, "--resume") == 1
    assert "--output must be the folder of a run to resume" in capsys.readouterr().err

    def press(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(HistoryFile, "on_epoch_begin", press, raising=False)
        assert command(*words, "--model", "tiny", "--image-size", 32, "--epochs", 2) == 1
    assert "with --resume" in capsys.readouterr().out
    assert command(*words, "--resume", "--epochs", 3) == 1
    assert "epochs must be 2, as in the run" in capsys.readouterr().err
    assert command(*words, "--resume", "--image-size", 16) == 1
    assert "the data differ from those of the run" in capsys.readouterr().err
    assert command(*words, "--resume") == 0
    assert "resuming at batch" in capsys.readouterr().out
    assert len((tmp_path / "run" / "history.csv").read_text().splitlines()) == 3


@pytest.mark.release
def test_a_run_that_was_killed_has_the_history_of_one_that_was_not(photos, tmp_path):
    """SIGKILL, to a process that trains with dropout on one thread."""
    begin = ["--model", "lenet5", "--image-size", "32", "--epochs", "20"]

    def start(run, *words):
        words = [sys.executable, "-m", "keras_dlcourse.cli", "train", photos, "-o", run, *words]
        threads = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
        return subprocess.Popen(
            [str(word) for word in words], env=os.environ | threads, stdout=subprocess.DEVNULL
        )

    def rows(run):
        lines = (run / "history.csv").read_text().splitlines()
        return [line.rpartition(",")[0] for line in lines]  # but for the seconds

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole, *begin).wait(300) == 0
    process = start(killed, *begin)
    deadline = time.monotonic() + 240
    while not (killed / "history.csv").exists() or len(rows(killed)) < 4:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert start(killed, "--resume").wait(300) == 0
    assert rows(killed) == rows(whole)
    assert not (killed / "backup").exists()
