"""A run for masks, from two folders of files."""

from __future__ import annotations

import importlib
import json
import re
from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix, jaccard_score

import keras_dlcourse as kd
from keras_dlcourse.cli import main, train
from keras_dlcourse.cli.main import build_parser
from keras_dlcourse.cli.model_input import list_masked_images
from keras_dlcourse.cli.usage import UsageError
from keras_dlcourse.data.pipeline import rebuild
from keras_dlcourse.models import registry
from keras_dlcourse.training import Recipe
from keras_dlcourse.training.run import repair
from keras_dlcourse.training.run.floor import measure_mask_floor
from keras_dlcourse.training.run.tasks import segmentation as task_module
from keras_dlcourse.training.run.tasks.segmentation import (
    SEGMENTATION,
    build_segmenter,
    choose_settings,
    read_masks,
)
from keras_dlcourse.training.run.verdict import SEGMENTATION_RULES, find_loss, judge

# The function of that name hides the module.
run_module = importlib.import_module("keras_dlcourse.training.run.run")

NAMES = ("ground", "red", "blue")
COLORS = {1: (200, 40, 40), 2: (40, 40, 200)}
SIDE = 28
RECIPE = Recipe("tiny_maps", task="segment", epochs=2, learning_rate=0.02)


def draw_all(n, seed=0):
    """Return images with a red and a blue square, and their masks without labels in two rows."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (n, SIDE, SIDE, 3)).astype("uint8")
    masks = np.zeros((n, SIDE, SIDE), "uint8")
    for image, mask in zip(images, masks, strict=True):
        for number, color in COLORS.items():
            top, left = rng.integers(0, SIDE - 10, 2)
            image[top : top + 10, left : left + 10] = color
            mask[top : top + 10, left : left + 10] = number
    masks[:, :2] = 255
    return images, masks


def dataset(change=lambda part, y: y, names=NAMES):
    parts = [
        (x, change(part, y))
        for number, (part, n) in enumerate((("train", 30), ("validation", 8), ("test", 8)))
        for x, y in [draw_all(n, number)]
    ]
    return kd.data.Dataset.from_parts("squares", *parts, names, batch_size=8)


def tiny_maps(input_shape, alpha=1.0, include_top=True, output_stride=None):
    """Build a backbone that traces quickly."""
    inputs = keras.Input(input_shape)
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(inputs)
    x = keras.layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(x)
    return keras.Model(inputs, x, name="tiny_maps")


@pytest.fixture(scope="module", autouse=True)
def network():
    """Make the backbone known as `tiny_maps`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._BUILDERS, "tiny_maps", tiny_maps)
        yield "tiny_maps"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of 130 images and of their masks."""
    place = tmp_path_factory.mktemp("squares")
    for name, arrays in zip(("images", "masks"), draw_all(130), strict=True):
        (place / name).mkdir()
        for number, array in enumerate(arrays):
            Image.fromarray(array).save(place / name / f"{number}.png")
    return place / "images", place / "masks"


@pytest.fixture(scope="module")
def finished(network, folders, tmp_path_factory):
    """A run of two epochs, without the repair of its int8 file."""
    data, said = read_masks(*folders, class_names=NAMES, image_size=SIDE), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "repair_file", lambda *given: (given[-2], []))
        result = kd.training.run(data, tmp_path_factory.mktemp("runs") / "run", RECIPE, said.append)
    return result, data, said


def read(path):
    return json.loads(path.read_text())


def test_the_kept_weights_are_measured_by_mean_iou(finished):
    result, data, said = finished
    results = read(result.folder.results)
    kept = keras.saving.load_model(result.folder.model)
    true, predicted = data.test.y, kept.predict(data.test, verbose=0).argmax(-1)
    known = true != 255
    expected = jaccard_score(true[known], predicted[known], average="macro")
    test = results["test"]
    assert test["mean_iou"] == pytest.approx(expected, abs=1e-6)
    assert test["mean_iou_low"] <= expected <= test["mean_iou_high"]
    assert test["pixel_accuracy"] == pytest.approx((true == predicted)[known].mean())
    counts = confusion_matrix(true[known], predicted[known], labels=range(3))
    assert results["confusion_matrix"] == counts.tolist()
    assert results["classes"]["images"] == [13, 13, 13]
    history = result.folder.history.read_text().splitlines()
    column = history[0].split(",").index("val_mean_iou")
    best = max(float(row.split(",")[column]) for row in history[1:])
    assert results["validation_mean_iou"] == pytest.approx(best)
    assert any(line.startswith(f"Done: mean IoU {expected:.3f} on the test") for line in said)


def test_files_are_masks_with_the_names_of_classes(finished):
    result, data, _ = finished
    rows = read(result.folder.results)["files"]
    assert [row.get("kind") for row in rows[1:]] == ["segmentation", "segmentation"]
    assert rows[1]["passed"] and rows[1]["iou"] == pytest.approx(rows[0]["iou"], abs=1e-3)
    for name in ("float32", "int8"):
        with kd.edge.ImageSegmenter(result.folder.tflite(name)) as segmenter:
            assert segmenter.segment(data.test.x[0]).labels == NAMES


def test_settings_and_masks_are_recorded(finished):
    result, data, said = finished
    config = read(result.folder.config)
    assert (config["task"], config["augment"], config["flip"]) == ("segment", "light", True)
    assert (config["weights"], config["label_smoothing"]) == ("none", 0)
    assert config["data"]["images_per_class"] == [104, 104, 104]
    pixels = [int((data.train.y == number).sum()) for number in range(3)]
    assert config["data"]["pixels_per_class"] == pixels
    assert any("--no-flip" in line for line in said)
    assert any("augment=light: for 104 training images" in line for line in said)
    assert result.passed == all(row["passed"] for row in read(result.folder.results)["files"][1:])
    with pytest.raises(AttributeError, match="this task has none. .*mean_iou"):
        _ = result.accuracy


def test_the_report_shows_masks_and_classes(finished):
    result, _, _ = finished
    page, card = (result.folder.path / name for name in ("report.html", "model_card.md"))
    text = page.read_text()
    assert re.findall("<h2[^>]*>(.*?)</h2>", text)[3:8] == [
        "Typical masks", "Scores of each class", "Confusion matrix", "Next to simple methods",
        "Worst images",
    ]  # fmt: skip
    for shown in ("Test mean IoU", "color and position of each pixel", "IoU with the masks of"):
        assert shown in text, shown
    assert "keras-dlcourse segment model.int8.tflite IMAGE.jpg -o overlay.png" in text
    assert all(f"| {name} |" in card.read_text() for name in NAMES)
    assert 'pipeline_tag: "image-segmentation"' in card.read_text()


@pytest.mark.slow
def test_a_stopped_run_ends_with_the_same_weights(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "export_model", lambda *given: ([], []))
    monkeypatch.setattr(task_module, "measure_mask_floor", lambda data: {})
    whole, data, _ = finished

    def stop(epoch, logs):
        if epoch == 1:
            raise KeyboardInterrupt

    def run(data, recipe=None, callbacks=()):
        silent = [].append
        resume = recipe is None
        return kd.training.run(data, tmp_path / "run", recipe, silent, resume, callbacks=callbacks)

    stopping = keras.callbacks.LambdaCallback(on_epoch_begin=stop)
    data.train.epoch = 0
    assert run(data, RECIPE, [stopping]).interrupted
    labels = data.train.y
    without_gaps = replace(data, train=rebuild(data.train, y=np.where(labels == 255, 0, labels)))
    with pytest.raises(ValueError, match="the data differ from those of the run"):
        run(without_gaps)
    resumed = run(data)
    for ours, theirs in zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_images_and_masks_are_moved_by_one_matrix(network):
    model = SimpleNamespace()
    assert SEGMENTATION.add_augmentation(model, None) is model
    data = dataset()
    layer = SEGMENTATION.augmentation(data, Recipe(task="segment", augment="none", flip=True))
    masks = draw_all(64)[1].astype("int32")
    images = np.repeat(masks[..., None], 3, axis=-1).astype("float32")
    moved = layer({"images": images, "mask": masks}, training=True)
    found = np.asarray(moved["mask"])
    np.testing.assert_array_equal(np.asarray(moved["images"])[..., 0], found)
    assert 10 < (found != masks).any(axis=(1, 2)).sum() < 54
    assert SEGMENTATION.augmentation(data, Recipe(augment="none", flip=False)) is None
    trained = SEGMENTATION.add_augmentation(build_segmenter(data, Recipe(network)), layer)
    assert isinstance(trained, kd.models.AugmentedModel)


def test_the_default_is_the_small_unet():
    data = SimpleNamespace(image_shape=(64, 50, 3), class_names=NAMES, normalization=None)
    model = build_segmenter(data, Recipe(alpha=train.ALPHA))
    same = kd.models.UNet(data.image_shape, classes=list(NAMES))
    assert model.count_params() == same.count_params() < 150_000
    assert model.output_shape == (None, 64, 50, 3)


@pytest.mark.parametrize(
    ("change", "names", "match"),
    [
        (lambda part, y: y[:, 0, 0] % 3, NAMES, r"data.train must have masks .*int32 of shape"),
        (lambda part, y: np.where(part == "train", y % 2, y), NAMES, "Received: none of blue"),
        (lambda part, y: np.full_like(y, 255) if part == "test" else y, NAMES,
         "data.test must have pixels with a label. Received: only 255"),
        (lambda part, y: np.where(y == 255, y, 0), ("ground",), "at least two classes"),
    ],
)  # fmt: skip
def test_masks_that_cannot_be_learned_or_tested(tmp_path, network, change, names, match):
    data = dataset(lambda part, y: change(part, y).astype("uint8"), names)
    with pytest.raises(ValueError, match=match):
        kd.training.run(data, tmp_path / "run", Recipe(network, task="segment"))
    assert not (tmp_path / "run").exists()


def test_weights_of_pixels_would_stay_in_place():
    data = dataset()
    weights = np.ones(data.train.y.shape, "float32")
    train_part = kd.data.pipeline(
        data.train.x, data.train.y, sample_weight=weights, class_names=NAMES
    )
    with pytest.raises(ValueError, match=r"one weight per image.*\(30, 28, 28\)"):
        SEGMENTATION.check_data(replace(data, train=train_part))


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"weights": "imagenet"}, "weights must be 'none' for the task 'segment'"),
        ({"label_smoothing": 0.1}, "label_smoothing must be 0 for the task 'segment'"),
    ],
)
def test_settings_of_other_tasks_are_refused(settings, match):
    with pytest.raises(ValueError, match=match):
        choose_settings(dataset(), Recipe(task="segment", **settings))


def test_batches_of_large_images_are_smaller():
    def choose(side, **given):
        x, y = np.zeros((4, side, side, 3), "uint8"), np.zeros((4, side, side), "uint8")
        part = kd.data.pipeline(x, y, class_names=NAMES)
        data = SimpleNamespace(train=part, image_shape=part.image_shape, class_names=NAMES)
        return choose_settings(data, Recipe(task="segment", **given))

    assert [choose(side)[0].batch_size for side in (96, 128, 256, 600)] == [32, 32, 8, 4]
    assert "batch_size=8: for images of 256x256 pixels" in choose(256)[1]
    plain, why = choose(32, augment="none")
    assert plain.flip is False and "flip=False: augment=none" in why


def test_the_floor_sees_single_pixels():
    data = dataset()
    floor = measure_mask_floor(data, pixels=(2_000, 2_000))
    forest, frequent = floor["color and position of each pixel"], floor["most frequent class"]
    assert forest > 0.95
    known = data.test.y[data.test.y != 255]
    expected = jaccard_score(known, np.zeros_like(known), average="macro")
    assert frequent == pytest.approx(expected)


def test_a_file_that_loses_iou_is_repaired():
    good = SimpleNamespace(
        agreement=0.98, accuracy=0.9, accuracy_loss=0.0, iou=0.6, iou_loss=0.004, mean_error=0.1
    )
    worse = SimpleNamespace(**{**vars(good), "iou": 0.58, "iou_loss": 0.025})
    assert repair.find_shortfall(good) == 0
    assert repair.find_shortfall(worse) == pytest.approx(0.015)
    assert repair._describe_loss(worse) == "it loses 2.5 points of mean IoU"
    assert repair._figures(worse) == {"agreement": 0.98, "accuracy": 0.9, "iou": 0.58}
    assert "mean IoU from 58.0% to 60.0%" in repair._describe_change(worse, good)
    assert find_loss({"accuracy_loss": 0.03, "iou_loss": None}) == "3.0 points of accuracy"


CONFIG = {"data": {"classes": NAMES, "images_per_class": [50, 40, 30]}}
GOOD = {
    "training_mean_iou": 0.9,
    "validation_mean_iou": 0.85,
    "test": {"examples": 500, "mean_iou": 0.84, "mean_iou_low": 0.81, "mean_iou_high": 0.87},
    "classes": {"accuracy": [0.9, 0.8, 0.7], "images": [200, 150, 100]},
    "floor": {"color and position of each pixel": 0.5},
    "files": [{"file": "model.int8.tflite", "passed": True, "iou_loss": 0.01}],
}


@pytest.mark.parametrize(
    ("changes", "level", "text"),
    [
        ({"floor": {"a forest": 0.84}}, "do not use",
         "A forest on the same images reaches 0.840, the network 0.840"),
        ({"classes": {**GOOD["classes"], "accuracy": [0.9, 0.8, 0.0]}}, "look here",
         "No pixel of these classes was found in any test image: blue"),
        ({"classes": {"images": [9, 0, 9], "accuracy": [0.9, None, 0.7]}}, "look here",
         "No test image shows these classes, so nothing is known about them: red"),
        ({"test": {**GOOD["test"], "mean_iou_low": 0.7}}, "look here",
         "The mean IoU may be anywhere from 0.700 to 0.870"),
        ({"training_mean_iou": 1.01}, "look here", "overfits: 1.010 on training images"),
        ({"files": [{**GOOD["files"][0], "iou_loss": 0.012}]}, "look here",
         "model.int8.tflite loses 1.2 points of mean IoU"),
    ],
)  # fmt: skip
def test_each_reason(changes, level, text):
    assert judge(SEGMENTATION_RULES, CONFIG, GOOD).level == "good"
    (reason,) = judge(SEGMENTATION_RULES, CONFIG, {**GOOD, **changes}).reasons
    assert reason.level == level and text.lower() in reason.text.lower()


def test_rare_classes_are_a_reason():
    rare = {"data": {**CONFIG["data"], "images_per_class": [50, 19, 30]}}
    (reason,) = judge(SEGMENTATION_RULES, rare, GOOD).reasons
    assert "Fewer than 20 training images show these classes: red (19)" in reason.text


def check(*words):
    return train.check_early(build_parser().parse_args(["train", *map(str, words)]))


def test_the_command_pairs_images_and_masks(folders, capsys):
    early = check(*folders, "--task", "segment", "--classes", *NAMES)
    assert (early.name, early.image_size) == ("images", 28)
    assert early.more == {"masks": folders[1]} and early.config == {"alpha": train.ALPHA}
    assert "130 images with masks of 3 classes, resized to 28x28" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "error", "match"),
    [
        (["IMAGES", "MASKS"], UsageError, "MASKS is for --task segment only"),
        (["IMAGES", "--task", "segment"], ValueError, "masks must be the folder of the masks"),
        (["nowhere", "MASKS", "--task", "segment"], FileNotFoundError, "nowhere is not a folder"),
        (["IMAGES", "nowhere", "--task", "segment"], FileNotFoundError, "nowhere is not a folder"),
        (["IMAGES", "MASKS", "--task", "segment"], ValueError, "masks have the values 0 .*255"),
        (["IMAGES", "ONE", "--task", "segment", "--classes", *NAMES], ValueError,
         "129 of 130 images have no mask"),
        (["IMAGES", "MASKS", "--task", "segment", "--skip-bad"], UsageError, "--skip-bad is not"),
        (["IMAGES", "MASKS", "--task", "segment", "--cache", "folder"], UsageError, "--cache must"),
        (["IMAGES", "MASKS", "--task", "segment", "--weights", "imagenet"], ValueError,
         "--weights must be none"),
        (["IMAGES", "MASKS", "--task", "segment", "--model", "unet"], ValueError, "no model named"),
        (["IMAGES", "MASKS", "--task", "segment", "-o", "MASKS/run"], ValueError,
         "RUN must be outside of MASKS"),
    ],
)  # fmt: skip
def test_the_command_finds_mistakes_early(folders, tmp_path, words, error, match):
    (tmp_path / "0.png").write_bytes((folders[1] / "0.png").read_bytes())
    places = {"IMAGES": folders[0], "MASKS": folders[1], "ONE": tmp_path}
    filled = [
        re.sub("^(IMAGES|MASKS|ONE)", lambda found: str(places[found[0]]), word) for word in words
    ]
    with pytest.raises(error, match=match):
        check(*filled)


def test_files_are_not_skipped(folders):
    with pytest.raises(ValueError, match="skip_bad must be False for masks"):
        read_masks(*folders, class_names=NAMES, skip_bad=True)


@pytest.fixture
def verify(finished, capsys):
    """Run `keras-dlcourse verify` on the float32 file of the run."""
    folder = finished[0].folder

    def run(*words):
        words = ("verify", folder.model, folder.tflite("float32"), *words)
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run


def test_verify_measures_both_on_the_masks_that_the_run_held_out(finished, folders, verify):
    code, out, _ = verify(*folders)
    assert code == 0
    assert out.startswith("scores the 13 of 130 images that the run held out\n")
    results = read(finished[0].folder.results)
    for name, iou in zip(NAMES, results["classes"]["iou"], strict=True):
        share = rf"{iou:.2%}"
        shown = rf"{name}: IoU \(of both (100.00%|–)\) +{share} +{share}"
        assert re.search(shown, out)
    assert "100.00%" in re.search("same class at a position.*", out)[0]
    code, _, err = verify(*folders, "--max-iou-loss", "-0.5")
    assert code == 1 and "max_iou_loss=-0.5, measured" in err


def test_verify_compares_as_many_masks_as_fit(folders, verify, monkeypatch):
    monkeypatch.setattr(task_module, "COMPARED", 4 * 3 * SIDE**2 + 1)
    code, out, _ = verify(*folders)
    assert code == 0 and "compares the first 4 of them" in out and "4 examples" in out


def test_verify_finds_mistakes_about_masks(finished, folders, tmp_path, verify):
    images, masks = folders
    code, _, err = verify(images, masks, "--skip-bad")
    assert code == 2 and "--skip-bad is not for masks" in err
    Image.new("L", (SIDE, SIDE), 3).save(tmp_path / "0.png")
    code, _, err = verify(images, tmp_path)
    assert code == 1 and "129 of 130 images have no mask" in err
    (tmp_path / "images").mkdir()
    (tmp_path / "images/0.png").write_bytes((images / "0.png").read_bytes())
    (tmp_path / "masks").mkdir()
    (tmp_path / "0.png").rename(tmp_path / "masks/0.png")
    code, _, err = verify(tmp_path / "images", tmp_path / "masks")
    assert code == 1 and "has values that no class has: 3 (784 pixels)" in err


@pytest.mark.parametrize(
    ("names", "message"),
    [(("background", "red"), None), (("red", "background"), "classes of the model: red, backgr")],
)
def test_annotations_have_the_classes_of_the_model(tmp_path, names, message):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    outline = {"image_id": 1, "category_id": 4, "segmentation": [[0, 0, 4, 0, 4, 4]]}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 8, "width": 8}],
        "categories": [{"id": 4, "name": "red"}],
        "annotations": [outline],
    }
    path = tmp_path.parent / f"{tmp_path.name}.json"
    path.write_text(json.dumps(content))
    if message is None:
        (pair,) = list_masked_images(tmp_path, path, names)
        assert pair.mask.read().max() == 1
    else:
        with pytest.raises(ValueError, match=message):
            list_masked_images(tmp_path, path, names)
