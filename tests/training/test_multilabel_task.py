"""A run for images with any number of labels, from a table of files."""

from __future__ import annotations

import importlib
import json
import re

import keras
import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

import keras_dlcourse as kd
from keras_dlcourse.cli import train
from keras_dlcourse.cli.main import build_parser
from keras_dlcourse.cli.model_input import load_labeled_images
from keras_dlcourse.edge import ModelFile
from keras_dlcourse.report.label_scores import _MeanAveragePrecision, label_scores
from keras_dlcourse.training import Recipe
from keras_dlcourse.training.run.augment import can_mirror
from keras_dlcourse.training.run.floor import measure_label_floor
from keras_dlcourse.training.run.tasks.multilabel import (
    MULTILABEL,
    choose_settings,
    convert_data,
    regress_labels,
)
from keras_dlcourse.training.run.verdict import MULTILABEL_RULES, judge

# The function of that name hides the module.
run_module = importlib.import_module("keras_dlcourse.training.run.run")

NAMES = ("across", "down", "spot")


def draw(present, rng):
    """Return an image with a bar across, a bar down and a spot, where these are present."""
    image = rng.integers(0, 60, (16, 16, 3)).astype("uint8")
    place = int(rng.integers(2, 10))
    if present[0]:
        image[place] = 255
    if present[1]:
        image[:, place] = 255
    if present[2]:
        image[place : place + 5, place : place + 5] = (20, 220, 20)
    return image


def draw_all(n, seed=0):
    """Return images and labels, some of which are empty."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, 3)) < (0.5, 0.4, 0.3)).astype("int32")
    return np.stack([draw(row, rng) for row in labels]), labels


def dataset(labels=lambda part, y: y, names=NAMES):
    parts = [
        (x, labels(part, y))
        for number, (part, n) in enumerate((("train", 120), ("validation", 30), ("test", 40)))
        for x, y in [draw_all(n, number)]
    ]
    return kd.data.Dataset.from_parts("shapes", *parts, names, batch_size=16)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table of 150 images; those without labels have an empty cell."""
    folder = tmp_path_factory.mktemp("shapes")
    lines = ["file,labels"]
    for number, (image, present) in enumerate(zip(*draw_all(150), strict=True)):
        Image.fromarray(image).save(folder / f"{number}.png")
        listed = "|".join(name for name, there in zip(NAMES, present, strict=True) if there)
        lines.append(f"{number}.png,{listed}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder / "labels.csv"


@pytest.fixture(scope="module")
def finished(table, tmp_path_factory, tiny_model):
    """A run of two epochs, without the repair of its int8 file."""
    data, said = kd.data.read_images(table, image_size=16), []
    recipe = Recipe(tiny_model, task="multilabel", epochs=2, learning_rate=0.02, augment="none")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "repair_file", lambda *given: (given[-2], []))
        result = kd.training.run(data, tmp_path_factory.mktemp("runs") / "run", recipe, said.append)
    return result, data, said


def read(path):
    return json.loads(path.read_text())


def test_the_kept_weights_are_measured_by_mean_average_precision(finished):
    result, data, said = finished
    results = read(result.folder.results)
    kept = keras.saving.load_model(result.folder.model)
    scores = kept.predict(data.test, verbose=0)
    expected = average_precision_score(data.test.y, scores)
    test = results["test"]
    assert test["mean_average_precision"] == pytest.approx(expected, abs=1e-6)
    assert test["mean_average_precision_low"] < expected < test["mean_average_precision_high"]
    said_labels = scores >= np.float32(results["labels"]["threshold"])
    assert test["exact_match"] == (said_labels == data.test.y).all(axis=1).mean()
    assert results["labels"]["images"] == data.test.y.sum(axis=0).tolist()
    columns = result.folder.history.read_text().splitlines()
    rows = [dict(zip(columns[0].split(","), map(float, row.split(",")), strict=True))
            for row in columns[1:]]  # fmt: skip
    best = max(row["val_mean_average_precision"] for row in rows)
    assert results["validation_mean_average_precision"] == pytest.approx(best)
    assert any(line.startswith(f"Done: mAP {expected:.3f} on the test images") for line in said)


def test_files_carry_the_thresholds_of_the_validation_part(finished):
    result, data, _ = finished
    results = read(result.folder.results)
    chosen = kd.training.choose_thresholds(result.model, data.validation)
    np.testing.assert_allclose(results["labels"]["threshold"], chosen, rtol=1e-6)
    for name in ("float32", "int8"):
        metadata = ModelFile.read(result.folder.tflite(name)).metadata
        assert metadata.labels == NAMES
        np.testing.assert_allclose(metadata.score_thresholds, chosen, rtol=1e-6)
    kept = keras.saving.load_model(result.folder.model)
    assert kd.layers.describe(kept).score_thresholds == tuple(results["labels"]["threshold"])
    assert [row.get("kind") for row in results["files"][1:]] == ["labels", "labels"]
    assert results["files"][1]["passed"]


def test_settings_and_labels_are_recorded(finished):
    result, data, said = finished
    config = read(result.folder.config)
    assert (config["task"], config["label_smoothing"]) == ("multilabel", 0)
    assert config["data"]["images_per_label"] == data.train.y.sum(axis=0).tolist()
    assert any(line.startswith("label weights: ") for line in said)
    split = read(result.folder.split)
    assert [len(split[part]) for part in ("train", "validation", "test")] == [
        part.examples for part in (data.train, data.validation, data.test)
    ]


def test_the_report_has_a_row_for_each_label(finished):
    result, _, _ = finished
    page, card = (result.folder.path / name for name in ("report.html", "model_card.md"))
    text = page.read_text()
    titles = re.findall("<h2[^>]*>(.*?)</h2>", text)
    assert titles[3:7] == [
        "Scores of each label", "Next to simple methods", "What the network looks at",
        "Worst images",
    ]  # fmt: skip
    assert "; predicted: " in text
    for shown in ("Test mean average precision", "one linear SVM per label", "All labels right"):
        assert shown in text, shown
    assert all(f"| {name} |" in card.read_text() for name in NAMES)


def test_verify_arranges_the_labels_of_a_table(finished, table):
    result, data, _ = finished
    names = ("spot", "across", "down", "new")
    found = load_labeled_images(result.model, table, names)
    given = kd.data.read_images(table, image_size=16)
    total = sum(getattr(given, part).y.sum(axis=0) for part in ("train", "validation", "test"))
    assert found.labels.sum(axis=0).tolist() == [*total[[2, 0, 1]], -150]
    assert found.pipeline().y.shape == (150, 4)


def test_the_command_finds_the_task_in_the_table(table, capsys):
    def check(*words):
        return train.check_early(build_parser().parse_args(["train", str(table), *words]))

    assert check().config == {"alpha": train.ALPHA, "task": "multilabel"}
    said = capsys.readouterr().out
    assert "150 files of 3 labels" in said
    assert "task=multilabel: images may have several labels" in said
    assert "task" not in check("--task", "multilabel").config
    assert "task=" not in capsys.readouterr().out  # it was asked for
    with pytest.raises(ValueError, match=r"--task must be multilabel .*Received: classify"):
        check("--task", "classify")


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        (lambda part, y: y * (1, 1, part != "train"), "Received: spot in none of them"),
        (lambda part, y: np.maximum(y, (0, 1, 0)), "Received: down in all of them"),
        (lambda part, y: y * (part != "test"), "data.test must have labels"),
        (lambda part, y: y * 2, "data.train.y must contain 0, 1"),
    ],
)
def test_labels_that_cannot_be_learned_or_tested(tmp_path, labels, match):
    recipe = Recipe("tiny", task="multilabel")
    with pytest.raises(ValueError, match=match):
        kd.training.run(dataset(labels), tmp_path / "run", recipe)
    assert not (tmp_path / "run").exists()


def test_one_label_is_no_task_for_it(tmp_path):
    data = dataset(lambda part, y: 0 * y[:, 0], ("across",))
    with pytest.raises(ValueError, match="at least two labels. Received: one, 'across'"):
        MULTILABEL.check_data(data)


def test_label_smoothing_is_refused():
    with pytest.raises(ValueError, match="label_smoothing must be 0 for the task 'multilabel'"):
        choose_settings(dataset(), Recipe(task="multilabel", label_smoothing=0.1))


def test_classes_become_labels():
    data = convert_data(dataset(lambda part, y: y[:, 0], ("none", "across")))
    assert data.train.y.shape == (120, 2)
    assert (data.train.y.sum(axis=1) == 1).all()
    MULTILABEL.check_data(data)


def test_unknown_labels_count_nowhere():
    rng = np.random.default_rng(0)
    labels = (rng.random((60, 3)) < 0.4).astype(int)
    scores = np.round(rng.random((60, 3)) * 0.5 + labels * 0.3, 1)  # many are equal
    scattered = np.where(rng.random((60, 3)) < 0.2, -1, labels)
    found = label_scores(scattered, scores, [0.5, 0.4, 0.6], NAMES)
    for number, least in enumerate((0.5, 0.4, 0.6)):
        known = scattered[:, number] >= 0
        true, values = scattered[known, number], scores[known, number]
        *expected, _ = precision_recall_fscore_support(true, values >= least, average="binary")
        each = found.labels
        assert [each.precision[number], each.recall[number], each.f1[number]] == pytest.approx(
            expected
        )
        average = average_precision_score(true, values)
        assert found.average_precisions[number] == pytest.approx(average)
    assert found.mean_average_precision.value == pytest.approx(found.average_precisions.mean())
    rows = rng.integers(0, 60, 60)
    sample = _MeanAveragePrecision(labels, scores)(rows, rows)
    assert sample == pytest.approx(average_precision_score(labels[rows], scores[rows]))


def test_a_label_without_test_images_is_undefined():
    labels, scores = [[1, 0], [0, 0]], [[0.9, 0.1], [0.2, 0.8]]
    found = label_scores(labels, scores, [0.5, 0.5], ["a", "b"])
    assert found.mean_average_precision.value == 1
    assert np.isnan(found.labels.recall[1]) and np.isnan(found.average_precisions[1])
    assert found.exact.tolist() == [True, False]


def test_left_and_right_are_labels_that_are_not_mirrored():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (60, 2)).astype("int32")
    images = rng.integers(0, 60, (60, 20, 20, 1)).astype("uint8")
    images[labels[:, 0] == 1, 4:16, 1:5] += 150
    images[labels[:, 1] == 1, 4:16, 15:19] += 150
    is_good, why = can_mirror(kd.data.pipeline(images, labels))
    assert not is_good and "labels right in" in why and "100.0% without" in why
    assert can_mirror(kd.data.pipeline(images.transpose(0, 2, 1, 3), labels))[0]
    is_good, why = can_mirror(kd.data.pipeline(images, labels * (1, 0) - (0, 1)))  # unknown
    assert not is_good and "too few" in why


def test_floor_of_several_labels():
    data = dataset(lambda part, y: np.where(np.arange(len(y))[:, None] % 9, y, -1))
    floor = measure_label_floor(data)
    svm, frequent = floor.values()
    assert list(floor) == ["HOG and one linear SVM per label", "most frequent set of labels"]
    known = data.test.y[np.arange(40) % 9 > 0]
    assert frequent == pytest.approx(known.mean())
    assert svm > 0.8 > frequent


def test_the_head_is_a_logistic_regression_for_each_label():
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(50, 4)), rng.integers(0, 2, (50, 2))
    labels[:9, 1] = -1
    precision, kernel, bias = regress_labels(0.1, x, labels, x, labels)
    known = labels[:, 1] >= 0
    positive = labels[known, 1].sum()
    weight = {1: np.sqrt((known.sum() - positive) / positive)}
    head = LogisticRegression(C=0.1, class_weight=weight).fit(x[known], labels[known, 1])
    np.testing.assert_allclose(kernel[:, 1], head.coef_[0], atol=1e-3)
    np.testing.assert_allclose(bias[1], head.intercept_[0], atol=1e-3)
    assert 0.4 < precision <= 1


CONFIG = {"data": {"classes": NAMES, "images_per_label": [50, 40, 30]}}
GOOD = {
    "training_mean_average_precision": 0.9,
    "validation_mean_average_precision": 0.85,
    "test": {
        "examples": 500,
        "mean_average_precision": 0.84,
        "mean_average_precision_low": 0.81,
        "mean_average_precision_high": 0.87,
    },
    "labels": {"recall": [0.9, 0.8, 0.7], "images": [200, 150, 100]},
    "floor": {"HOG and one linear SVM per label": 0.7},
    "files": [{"file": "model.int8.tflite", "passed": True}],
}


@pytest.mark.parametrize(
    ("changes", "level", "text"),
    [
        ({"floor": {"SVM": 0.84}}, "do not use",
         "SVM on the same images reaches 0.840, the network 0.840"),
        ({"labels": {**GOOD["labels"], "recall": [0.9, 0.8, 0.0]}}, "look here",
         "not recognized in any test image: spot"),
        ({"labels": {"images": [9, 0, 9], "recall": [0.9, None, 0.7]}}, "look here",
         "No test image has these labels, so nothing is known about them: down"),
        ({"test": {**GOOD["test"], "mean_average_precision_low": 0.7}}, "look here",
         "The mean average precision may be anywhere from 0.700 to 0.870"),
        ({"training_mean_average_precision": 1.01}, "look here",
         "overfits: 1.010 on training images, 0.850 on validation images"),
    ],
)  # fmt: skip
def test_each_reason(changes, level, text):
    (reason,) = judge(MULTILABEL_RULES, CONFIG, {**GOOD, **changes}).reasons
    assert reason.level == level and text in reason.text


def test_rare_labels_are_a_reason():
    assert judge(MULTILABEL_RULES, CONFIG, GOOD).level == "good"
    rare = {"data": {**CONFIG["data"], "images_per_label": [50, 19, 30]}}
    (reason,) = judge(MULTILABEL_RULES, rare, GOOD).reasons
    assert "Fewer than 20 training images have these labels: down (19)" in reason.text
