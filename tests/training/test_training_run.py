"""A whole run on a tiny network: every file is there, valid, and says the same."""

from __future__ import annotations

import csv
import errno
import importlib
import json
import os
import re
from dataclasses import replace

import keras
import numpy as np
import pytest
from PIL import Image

import keras_dlcourse as kd
from keras_dlcourse import training
from keras_dlcourse.edge import ImageClassifier
from keras_dlcourse.report.blocks import escape_html
from keras_dlcourse.training import Recipe
from keras_dlcourse.training.run import repair
from keras_dlcourse.training.run.image_task import map_pictures
from keras_dlcourse.training.run.tasks.classification import CLASSIFICATION

# The function of that name hides the module.
run_module = importlib.import_module("keras_dlcourse.training.run.run")

FILES = {
    "config.json",
    "split.json",
    "history.csv",
    "results.json",
    "model.keras",
    "model.float32.tflite",
    "model.int8.tflite",
    "report.html",
    "model_card.md",
    "maps",
    "checkpoints.json",
    ".checkpoints.json",
}
RECIPE = Recipe(
    model="tiny",
    weights="none",
    epochs=3,
    learning_rate=0.02,
    dropout=0.0,
    label_smoothing=0.0,
    augment="none",
    flip=False,
)


def names(folder):
    return {path.name for path in folder.iterdir()}


def read(path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def finished(shapes, tmp_path_factory):
    data, said = shapes(), []
    result = training.run(data, tmp_path_factory.mktemp("runs") / "run", RECIPE, said.append)
    return data, result, said


def test_all_files_are_there_and_nothing_else(finished):
    _, result, _ = finished
    assert names(result.folder.path) == FILES
    assert not result.interrupted


@pytest.mark.parametrize("name", ["lenet5", "alexnet", "vgg11"])
def test_networks_with_dense_heads_get_maps_too(name, tmp_path):
    """Their heads are none for class activation maps: the pictures are Grad-CAM's."""
    data = kd.data.load("fashion_mnist_small")
    alpha = 1.0 if name.startswith("lenet") else 0.05
    recipe = replace(RECIPE, model=name, alpha=alpha, weights="none")
    model = run_module.build_model(data, recipe)
    maps = map_pictures(data, recipe, tmp_path, model)
    maps.set_model(model)
    maps.on_train_begin()
    maps.on_epoch_end(0, {})
    assert len(list(tmp_path.glob("*.png"))) == 1


def test_config_says_what_the_run_was_told(finished):
    data, result, _ = finished
    config = read(result.folder.config)
    assert (config["model"], config["epochs"], config["learning_rate"]) == ("tiny", 3, 0.02)
    assert config["data"]["classes"] == list(data.class_names)
    assert config["data"]["normalization"] == data.normalization.to_dict()
    assert (config["data"]["train"], config["data"]["test"]) == (160, 30)
    assert config["parameters"] == result.model.count_params()
    assert config["machine"]["cores"] == os.cpu_count()
    assert config["command"] is None  # pytest's is not ours


def test_best_epoch_of_the_validation_part_was_kept(finished):
    data, result, _ = finished
    with result.folder.history.open() as file:
        accuracies = [float(row["val_accuracy"]) for row in csv.DictReader(file)]
    results = read(result.folder.results)
    assert len(accuracies) == results["epochs"] == 3
    last = max(epoch for epoch, one in enumerate(accuracies, 1) if one == max(accuracies))
    assert results["best_epoch"] == last
    assert results["validation_accuracy"] == pytest.approx(max(accuracies))
    loaded = keras.saving.load_model(result.folder.model)
    assert loaded.evaluate(data.validation, verbose=0)[1] == pytest.approx(max(accuracies))


def test_accuracy_is_that_of_the_test_part(finished):
    data, result, _ = finished
    scores = result.model.predict(data.test, verbose=0)
    expected = np.mean(scores.argmax(1) == data.test.y)
    results = read(result.folder.results)
    assert result.accuracy == results["test"]["accuracy"] == pytest.approx(expected)
    assert results["test"]["examples"] == np.sum(results["confusion_matrix"]) == 30
    assert np.trace(results["confusion_matrix"]) == round(30 * expected)
    loss = keras.losses.sparse_categorical_crossentropy(data.test.y, scores)
    assert results["test"]["loss"] == pytest.approx(np.mean(loss), rel=1e-4)


def test_every_file_is_verified_and_runs_on_rgb(finished):
    data, result, _ = finished
    rows = {row["file"]: row for row in read(result.folder.results)["files"]}
    assert list(rows) == ["model.keras", "model.float32.tflite", "model.int8.tflite"]
    assert rows["model.float32.tflite"]["max_error"] < 1e-5
    assert rows["model.int8.tflite"]["agreement"] >= 0.9
    assert all(row["passed"] and row["cause"] is None for row in list(rows.values())[1:])
    assert read(result.folder.results)["repair"] == []
    image = Image.fromarray(data.test.x[3].squeeze()).convert("RGB")  # as a phone delivers it
    expected = result.model.predict(data.test, verbose=0)[3]
    for kind, tolerance in (("float32", 0.01), ("int8", 0.05)):
        classifier = ImageClassifier(result.folder.tflite(kind))
        assert classifier.labels == data.class_names
        assert classifier.input_shape[-1] == 3
        scores = {category.index: category.score for category in classifier.classify(image)}
        assert [scores[i] for i in range(2)] == pytest.approx(expected, abs=tolerance)


def test_report_shows_the_figures_and_escapes_the_classes(finished):
    _, result, _ = finished
    page = result.folder.report.read_text()
    assert f"{result.accuracy:.1%} of 30 images" in page
    assert "&lt;b&gt;across" in page
    assert "<b>" not in page
    assert "model.int8.tflite" in page
    assert "What the network looks at" in page
    assert list(result.folder.maps.glob("*.png"))


def test_report_and_card_link_what_is_in_the_folder(finished):
    _, result, _ = finished
    page = result.folder.report.read_text(encoding="utf-8")
    card = (result.folder.path / "model_card.md").read_text(encoding="utf-8")
    linked = set(re.findall(r'href="\./([^"]+)"', page))
    assert linked == {name for name in FILES if not name.startswith(".")}
    assert set(re.findall(r"\]\(\./([^)]+)\)", card)) == linked
    assert f"{result.accuracy:.1%} of 30 images" in card
    assert "<b>" not in card.replace("\\<b\\>", "")


def test_report_shows_wrong_and_right_answers_with_their_maps(finished):
    data, result, _ = finished
    page = result.folder.report.read_text(encoding="utf-8")
    captions = re.findall("<figcaption>([✗✓].*?)</figcaption>", page)
    answers = result.model.predict(data.test, verbose=0).argmax(axis=1)
    right = answers == data.test.y
    assert sum(one.startswith("✗") for one in captions) == min(12, np.sum(~right))
    # One of each class that is ever recognized.
    assert sum(one.startswith("✓") for one in captions) == len(np.unique(answers[right]))
    curves = read(result.folder.results)["curves"]
    assert sum(curves["bin_images"]) == 30
    assert len(curves["area"]) == len(curves["average_precision"]) == len(data.class_names)


def test_run_says_what_it_does(finished):
    _, result, said = finished
    text = "\n".join(said)
    for step in (
        "Training tiny for 3 epochs",
        "Testing on the 30 held-out images",
        "model.int8.tflite",
    ):
        assert step in text
    assert re.search(r"Done: [\d.]+% on the test images\. Report: .*report\.html", said[-2])
    verdict = result.results["verdict"]
    assert said[-1] == f"Verdict: {verdict['text']}"
    page = result.folder.report.read_text(encoding="utf-8")
    level = verdict["level"].capitalize()
    assert page.index(f"{level}</strong>") < page.index("Test accuracy")
    for reason in verdict["reasons"]:
        # The page begins it with a capital letter.
        assert escape_html(f"{reason['text'][1:]}. {reason['advice']}.") + "</li>" in page


def test_colour_images_stay_colour(shapes, tmp_path):
    recipe = Recipe(model="tiny", epochs=1)
    result = training.run(shapes(channels=3), tmp_path / "run", recipe, lambda text: None)
    assert ImageClassifier(result.folder.tflite("int8")).input_shape[-1] == 3


def test_few_images_are_calibrated_with_changed_copies(shapes, tmp_path):
    said = []
    recipe = Recipe(model="tiny", epochs=1)
    result = training.run(shapes(examples=40), tmp_path / "run", recipe, said.append)
    assert names(result.folder.path) == FILES
    assert (
        "calibration needs at least 100 training images: copies of the 40 that there are, changed "
        "at random, are added" in said
    )
    (int8,) = (row for row in result.results["files"] if row["file"] == "model.int8.tflite")
    assert int8["passed"]


def test_bad_input_writes_nothing(shapes, tmp_path):
    output = tmp_path / "run"
    for data, recipe, error, match in (
        ([1, 2], RECIPE, TypeError, "Received: int of int"),
        (shapes(names=("one",)), RECIPE, ValueError, "one class, 'one'"),
        (shapes(), Recipe(model="tinny"), ValueError, "There is no model named 'tinny'"),
        (shapes(), Recipe(model="mobilenet_v2"), ValueError, "at least 28 pixels"),
    ):
        with pytest.raises(error, match=match):
            training.run(data, output, recipe, lambda text: None)
        assert not output.exists()


def test_nothing_is_written_over(shapes, tmp_path):
    (tmp_path / "model.keras").write_text("mine")
    with pytest.raises(FileExistsError, match="is not empty"):
        training.run(shapes(), tmp_path, RECIPE, lambda text: None)
    assert names(tmp_path) == {"model.keras"}
    assert (tmp_path / "model.keras").read_text() == "mine"


@pytest.mark.parametrize("finished_epochs", [0, 2])
def test_ctrl_c_keeps_the_best_weights_and_a_valid_folder(
    shapes, tmp_path, monkeypatch, finished_epochs
):
    class WithInterrupt(run_module.HistoryFile):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == finished_epochs:
                raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "HistoryFile", WithInterrupt)
    data, said = shapes(), []
    result = training.run(data, tmp_path / "run", RECIPE, said.append)
    results = read(result.folder.results)
    assert result.interrupted
    assert results["interrupted"] is True
    assert results["epochs"] == finished_epochs
    assert results["files"] == []
    assert not list(result.folder.path.glob("*.tflite"))
    assert "Interrupted" in result.folder.report.read_text()
    assert f"keras-dlcourse export {result.folder.model}" in said[-1]
    loaded = keras.saving.load_model(result.folder.model)
    if finished_epochs:
        accuracy = loaded.evaluate(data.validation, verbose=0)[1]
        assert accuracy == pytest.approx(results["validation_accuracy"])


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("leave", [Killed, KeyboardInterrupt])
def test_a_run_that_was_broken_off_goes_on_to_the_same_end(
    shapes, finished, tmp_path, monkeypatch, leave
):
    _, expected, _ = finished

    def break_off(self, epoch, logs=None):
        if epoch == 1:
            raise leave

    said = []
    with monkeypatch.context() as patch:
        patch.setattr(run_module.HistoryFile, "on_epoch_begin", break_off, raising=False)
        try:
            broken = training.run(shapes(), tmp_path / "run", RECIPE, said.append)
        except Killed:
            assert not (tmp_path / "run" / "model.keras").exists()
        else:
            assert broken.interrupted
            assert "run the same command with --resume" in said[-1]
    assert (tmp_path / "run" / "backup").exists()
    resumed = training.run(shapes(), tmp_path / "run", None, said.append, resume=True)
    for before, after in zip(
        expected.model.get_weights(), resumed.model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(after, before)
    assert names(resumed.folder.path) == names(expected.folder.path)
    histories = [
        [line.rpartition(",")[0] for line in run.folder.history.read_text().splitlines()]
        for run in (expected, resumed)
    ]
    assert histories[0] == histories[1]  # but for the seconds
    assert kd.saving.latest_checkpoint(resumed.folder.path) == resumed.folder.model
    with pytest.raises(ValueError, match="is complete; there is nothing to resume"):
        training.run(shapes(), tmp_path / "run", None, said.append, resume=True)


def test_a_run_that_was_killed_during_a_repair_repairs_again(shapes, tmp_path, monkeypatch):
    def kill(job, kept):
        raise Killed

    monkeypatch.setattr(repair, "LEAST_AGREEMENT", 1.01)  # no file is good enough
    recipe, said = replace(RECIPE, epochs=1), []
    task = replace(CLASSIFICATION, quantizations=("int8",))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(repair, "STEPS", {repair.BIAS: kill})
        training.run(shapes(), tmp_path / "run", recipe, said.append, task=task)
    assert said[-2].startswith("Repairing model.int8.tflite: it ")
    monkeypatch.setattr(repair, "STEPS", {repair.BIAS: repair.STEPS[repair.BIAS]})
    result = training.run(shapes(), tmp_path / "run", None, said.append, resume=True, task=task)
    (step,) = read(result.folder.results)["repair"]
    assert step["step"] == repair.BIAS and set(step["before"]) == {"agreement", "accuracy"}
    row = result.results["files"][-1]
    assert row["file"] == "model.int8.tflite"
    assert row["agreement"] == step["after" if step["kept"] else "before"]["agreement"]


def test_augmentation_goes_on_where_it_was(shapes, tmp_path, monkeypatch):
    """What was broken off in the middle of an epoch ends with the same weights."""
    recipe = replace(RECIPE, epochs=2, augment="strong", flip=True, batch_size=8)
    # Nothing of this needs files.
    monkeypatch.setattr(run_module, "export_model", lambda *arguments: ([], []))
    monkeypatch.setattr(run_module, "SAVE_EVERY", 3)
    weights = []
    for stop in (None, 7):
        folder, seen = tmp_path / f"run-{stop}", []

        def count(batch, logs, stop=stop, seen=seen):
            seen.append(batch)
            if len(seen) == stop:
                raise Killed

        killer = keras.callbacks.LambdaCallback(on_train_batch_end=count)
        try:
            result = training.run(shapes(), folder, recipe, lambda text: None, callbacks=[killer])
        except Killed:
            result = training.run(shapes(), folder, None, lambda text: None, resume=True)
        weights.append(result.model.get_weights())
    assert all(map(np.array_equal, *weights))


def test_a_run_writes_for_tensorboard(shapes, tmp_path, monkeypatch):
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    number = importlib.import_module("tensorboard.util.tensor_util").make_ndarray
    monkeypatch.setattr(run_module, "export_model", lambda *arguments: ([], []))
    board = keras.callbacks.TensorBoard(tmp_path / "logs")
    result = training.run(shapes(), tmp_path / "run", RECIPE, lambda text: None, callbacks=[board])
    events = reading.EventAccumulator(str(tmp_path / "logs" / "validation")).Reload()
    found = events.Tensors("epoch_accuracy")
    with result.folder.history.open(newline="") as file:
        expected = [float(row["val_accuracy"]) for row in csv.DictReader(file)]
    assert [event.step for event in found] == [0, 1, 2]
    assert [number(event.tensor_proto) for event in found] == pytest.approx(expected)


def test_only_the_same_run_goes_on(shapes, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="folder must hold a run to resume"):
        training.run(shapes(), tmp_path / "run", None, lambda text: None, resume=True)

    def kill(*args):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "fit_model", kill)
        with pytest.raises(Killed):
            training.run(shapes(), tmp_path / "run", RECIPE, lambda text: None)
    other = replace(RECIPE, learning_rate=0.5)
    with pytest.raises(
        ValueError, match=r"learning_rate must be .* as in the run in .*Received: 0\.5"
    ):
        training.run(shapes(), tmp_path / "run", other, lambda text: None, resume=True)
    with pytest.raises(ValueError, match="the data differ from those of the run.*data was"):
        training.run(shapes(examples=80), tmp_path / "run", None, lambda text: None, resume=True)


def test_a_full_disk_leaves_no_half_file(shapes, tmp_path, monkeypatch):
    def full(self, path, *args, **kwargs):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(keras.Model, "save", full)
    with pytest.raises(OSError, match="No space left on device"):
        training.run(shapes(), tmp_path / "run", RECIPE, lambda text: None)
    assert names(tmp_path / "run") <= {"config.json", "split.json", "history.csv", "maps", "backup"}


def test_export_that_fails_leaves_the_trained_model_and_its_results(shapes, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise ValueError("cannot be converted")

    monkeypatch.setattr(run_module.export, "to_tflite", fail)
    with pytest.raises(ValueError, match="cannot be converted"):
        training.run(shapes(), tmp_path / "run", RECIPE, lambda text: None)
    assert read(tmp_path / "run" / "results.json")["test"]["examples"] == 30
    assert keras.saving.load_model(tmp_path / "run" / "model.keras").name == "tiny"
    assert (tmp_path / "run" / "report.html").exists()
