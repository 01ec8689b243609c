"""A run for a task that this package does not know: all that it needs is a row of the table."""

from __future__ import annotations

import importlib
import json
import re
from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest

import keras_dlcourse as kd
from keras_dlcourse import report, training
from keras_dlcourse.cli import main, train
from keras_dlcourse.training import Recipe, RunFolder
from keras_dlcourse.training.run.task import Evidence, Task
from keras_dlcourse.training.run.tasks import TASKS

# The function of that name hides the module.
run_module = importlib.import_module("keras_dlcourse.training.run.run")

RECIPE = Recipe(model="mean", task="brightness", epochs=4, learning_rate=0.1, weight_decay=0.0)


def check_brightness(data):
    if data.train.y.dtype.kind != "f":
        raise ValueError(f"data must have brightnesses as labels. Received: {data.train.y.dtype}")


def build_mean(data, recipe):
    inputs = keras.Input(data.train.image_shape)
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    return keras.Model(inputs, keras.layers.Dense(1)(x), name=recipe.model)


def measure_error(model, data):
    errors = model.predict(data.test, verbose=0)[:, 0] - data.test.y
    figure = report.new_figure(2, 2)
    figure.subplots().hist(errors)
    mae = float(np.abs(errors).mean())
    return Evidence({"mae": mae}, f"{mae:.4f}", pictures={"errors": report.png_bytes(figure)})


def show_errors(config, results, pictures):
    picture = report.Picture(pictures["errors"], "Histogram of the errors of all test images.")
    return [report.Section("Errors", [picture])]


BRIGHTNESS = Task(
    name="brightness",
    check_data=check_brightness,
    build=build_mean,
    compile_options=lambda data, recipe: {"loss": "mse", "metrics": ["mae"]},
    mode="min",
    evaluate=measure_error,
    export_options=lambda data: {"preprocessing": data.train.normalization},
    page=report.TaskPage(
        metric="mae",
        figures=lambda test: [("Test error", f"{test['mae']:.4f}")],
        sections=show_errors,
        pictures=("errors",),
    ),
)


@pytest.fixture(scope="module", autouse=True)
def row():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, "brightness", BRIGHTNESS)
        yield


def photos(to_label=lambda brightness: brightness):
    """Return images of all brightnesses: data with nothing that only classification needs."""

    def part(n, seed):
        generator = np.random.default_rng(seed)
        noise = generator.integers(-20, 20, (n, 8, 8, 1))
        images = (noise + generator.integers(20, 235, (n, 1, 1, 1))).astype("uint8")
        return images, to_label(images.mean(axis=(1, 2, 3)) / 255)

    normalization = kd.data.Normalization.fit(part(120, 0)[0])
    parts = {
        name: kd.data.pipeline(*part(n, seed), normalization=normalization, batch_size=8)
        for seed, (name, n) in enumerate({"train": 120, "validation": 20, "test": 30}.items())
    }
    return SimpleNamespace(name="grays", **parts)


def read(path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def finished(row, tmp_path_factory):
    said = []
    folder = tmp_path_factory.mktemp("runs") / "run"
    return training.run(photos(), folder, RECIPE, said.append), said


def test_the_epoch_with_the_lowest_error_was_kept_and_measured(finished):
    result, said = finished
    results, data = read(result.folder.results), photos()
    columns = result.folder.history.read_text().splitlines()[0].split(",")
    rows = np.loadtxt(result.folder.history, delimiter=",", skiprows=1)
    errors = rows[:, columns.index("val_mae")]
    assert results["best_epoch"] == 1 + errors.argmin()
    assert results["validation_mae"] == pytest.approx(errors.min(), rel=1e-6)
    kept = keras.saving.load_model(result.folder.model)
    expected = np.abs(kept.predict(data.test, verbose=0)[:, 0] - data.test.y).mean()
    assert results["test"] == {"mae": pytest.approx(expected, rel=1e-5)}
    assert expected < 0.1
    assert said[-2].startswith(f"Done: {expected:.4f} on the test images. Report: ")


def test_files_agree_by_the_kind_of_the_output(finished):
    result, _ = finished
    _, *files = read(result.folder.results)["files"]
    assert [row["quantization"] for row in files] == ["float32", "int8"]
    for row in files:
        assert (row["kind"], row["passed"], row["accuracy"]) == ("numbers", True, None)
    assert not result.folder.maps.exists()


def test_report_says_only_what_holds_for_the_task(finished):
    result, _ = finished
    page = result.folder.report.read_text()
    titles = re.findall("<h2[^>]*>(.*?)</h2>", page)
    assert titles == [
        "Verdict",
        "Summary",
        "Learning curves",
        "Errors",
        "Exported files",
        "Run it on a device",
        "Intended use",
        "Limits",
        "Data",
        "How it was trained",
        "Files of this run",
    ]
    results = read(result.folder.results)
    for text in (
        f"{results['test']['mae']:.4f}",
        f"{results['validation_mae']:.3g}, epoch {results['best_epoch']}",
        "Validation mae",
        "mae over 4 epochs",
        "keras-dlcourse benchmark model.int8.tflite",
    ):
        assert text in page, text
    for text in ("accuracy", "class", "score"):
        assert text not in re.sub(
            '<style>.*?</style>| class=|data:image[^"]*', "", page, flags=re.S
        )


def test_accuracy_of_a_task_without_one(finished):
    result, _ = finished
    with pytest.raises(AttributeError, match=r"accuracy was not measured.*which has: mae"):
        _ = result.accuracy


def test_data_and_task_are_checked_before_anything_is_written(tmp_path):
    as_classes = photos(lambda brightness: np.round(brightness).astype(int))
    for data, recipe, match in (
        (as_classes, RECIPE, "data must have brightnesses as labels. Received: int32"),
        (photos(), replace(RECIPE, task="colour"), "one of 'classify', .*Received: 'colour'"),
    ):
        with pytest.raises(ValueError, match=match):
            training.run(data, tmp_path / "run", recipe, lambda text: None)
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("setting", "value"), [("augment", "light"), ("weights", "imagenet"), ("batch_size", 4)]
)
def test_a_task_without_a_setting_refuses_it(tmp_path, setting, value):
    recipe = replace(RECIPE, **{setting: value})
    with pytest.raises(ValueError, match=f"{setting} must be .* for the task 'brightness'"):
        training.run(photos(), tmp_path / "run", recipe, lambda text: None)


def test_too_few_examples_without_augmentation_give_no_int8_file(tmp_path):
    data = SimpleNamespace(train=photos().train.__class__(np.zeros((20, 8, 8, 1), "uint8")))
    task, said = replace(BRIGHTNESS, quantizations=("int8",)), []
    folder = RunFolder(tmp_path)
    assert run_module.export_model(None, data, RECIPE, task, {}, folder, said.append) == ([], [])
    assert said == ["No int8 file: calibration needs at least 100 training images"]

    def fail(data, recipe):
        raise ValueError("another fault")

    task = replace(task, augmentation=fail)
    with pytest.raises(ValueError, match="another fault"):
        run_module.export_model(None, data, RECIPE, task, {}, folder, said.append)


def test_a_run_goes_on_as_the_task_that_it_was_begun_with(finished, tmp_path, monkeypatch):
    class Killed(BaseException):
        """Stands for the end of the process."""

    def kill(*args):
        raise Killed

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "fit_model", kill)
        with pytest.raises(Killed):
            training.run(photos(), folder, RECIPE, lambda text: None)
    config = read(folder / "config.json")
    assert config["task"] == "brightness"
    assert config["input_shape"] == [8, 8, 1]
    sizes = {"batch_size": 8, "train": 120, "validation": 20, "test": 30}
    assert config["data"] == {"name": "grays", **sizes}
    filled = run_module.recipe_of(folder)
    given = {name: value for name, value in vars(RECIPE).items() if value not in (None, "auto")}
    assert vars(filled) == {**vars(filled), **given}
    assert (filled.batch_size, filled.augment, filled.weights) == (8, "none", "none")
    with pytest.raises(ValueError, match="task must be 'brightness', as in the run in"):
        run_module.recipe_of(folder, replace(RECIPE, task="classify"))
    monkeypatch.setitem(TASKS, "brightness", replace(BRIGHTNESS, quantizations=()))
    resumed = training.run(photos(), folder, None, lambda text: None, resume=True)
    for ours, theirs in zip(
        resumed.model.get_weights(), finished[0].model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert resumed.results["files"] == []
    del config["task"]  # as an earlier version wrote it
    (folder / "config.json").write_text(json.dumps(config))
    assert run_module.recipe_of(folder).task == "classify"


def test_the_command_checks_the_task_before_it_reads_images(tmp_path, capsys, monkeypatch):
    words = ["train", "nowhere", "--model", "mean", "-o", str(tmp_path / "run")]
    assert main([*words, "--task", "clasify"]) == 1
    said = capsys.readouterr().err
    names = "'classify', 'multilabel', 'segment'"
    assert f"--task must be one of {names}. Received: 'clasify'" in said
    monkeypatch.setitem(
        train.CHECKS, "brightness", lambda options, config: train.Early("grays", 96, config)
    )
    assert main([*words, "--task", "brightness"]) == 1
    assert "task must be one that is trained from a folder" in capsys.readouterr().err


def test_the_command_reads_the_data_as_the_task_says(tmp_path, monkeypatch):
    read_with, ran = [], []

    def read_photos(folder, **options):
        read_with.append((folder, options))
        return photos()

    monkeypatch.setitem(TASKS, "brightness", replace(BRIGHTNESS, read=read_photos))
    monkeypatch.setitem(
        train.CHECKS, "brightness", lambda options, config: train.Early("grays", 96, config)
    )
    monkeypatch.setattr(
        training,
        "run",
        lambda data, output, recipe, **options: (
            ran.append((data.name, recipe)) or SimpleNamespace(passed=True)
        ),
    )
    words = ["train", "folder", "--task", "brightness", "--model", "mean", "--image-size", "8"]
    assert main([*words, "-o", str(tmp_path / "run")]) == 0
    options = {"image_size": 8, "class_names": None, "skip_bad": False, "bits": None}
    assert read_with == [("folder", options)]
    assert ran == [("grays", Recipe(model="mean", task="brightness"))]


def test_a_picture_that_the_page_does_not_show_is_an_error(tmp_path):
    config = {"model": "mean", "data": {"name": "grays"}}
    results = {"interrupted": True, "epochs": 0, "files": []}
    with pytest.raises(ValueError, match="that the page shows: errors. Received: erors"):
        report.write_run_page(
            tmp_path / "report.html", config, {}, results, {"erors": b"x"}, BRIGHTNESS.page
        )


def test_a_classifier_is_trained_on_what_as_dataset_accepts(tmp_path):
    part = (np.zeros((6, 8, 8, 1), "uint8"), np.array([[1, 1], [1, 0], [0, 1]] * 2))
    with pytest.raises(ValueError, match=r"data.train must have one integer label.*\(4, 2\)"):
        kd.training.run((part, part), tmp_path / "run")
