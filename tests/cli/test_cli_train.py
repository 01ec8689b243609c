"""What `keras-dlcourse train` chooses before Keras is started, and how a recipe is repeated."""

from __future__ import annotations

import ctypes
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from keras_dlcourse import training
from keras_dlcourse.cli import quiet, train
from keras_dlcourse.cli.main import build_parser
from keras_dlcourse.cli.usage import parse_time
from keras_dlcourse.data.image_files import choose_image_size
from keras_dlcourse.training import Recipe
from keras_dlcourse.training.run import time_limit
from keras_dlcourse.training.run.augment import LEVELS
from keras_dlcourse.training.run.run import _EARLIER


@pytest.fixture
def photos(tmp_path):
    """Return a folder of small pictures in two classes."""
    for number, name in enumerate(("cat", "dog")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(4):
            pixels = np.full((40, 30 + i, 3), 100 * number, "uint8")
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path / "photos"


def _check(photos, *arguments):
    return train.check_early(build_parser().parse_args(["train", str(photos), *arguments]))


def test_names_that_need_keras_are_written_down_correctly():
    assert set(train.SETTINGS) == set(Recipe.__dataclass_fields__)
    assert train.LEVELS == LEVELS
    assert set(_EARLIER) <= set(train.SETTINGS)


def test_folder_and_nothing_else(photos, capsys):
    early = _check(photos)
    assert (early.name, early.image_size) == ("photos", 40)
    assert early.config == {"alpha": train.ALPHA}
    assert "8 files of 2 classes, resized to 40x40 pixels" in capsys.readouterr().out
    assert _check(photos, "--model", "resnet18").config == {}
    assert _check(photos, "--image-size", "64").image_size == 64


def test_small_images_are_enlarged_for_networks_that_have_learned_from_large_ones(photos, tmp_path):
    base = tmp_path / "base.keras"
    base.touch()
    for weights in ("imagenet", str(base)):
        assert _check(photos, "--weights", weights).image_size == 128
        assert _check(photos, "--weights", weights, "--image-size", "32").image_size == 32
    assert _check(photos, "--weights", "none").image_size == 40
    config = tmp_path / "config.json"
    config.write_text('{"weights": "imagenet"}')
    assert _check(photos, "--config", str(config)).image_size == 128


def test_devices_reach_the_run(photos, tmp_path, monkeypatch):
    seen = {}
    done = SimpleNamespace(passed=True)
    monkeypatch.setattr(training, "run", lambda *given, **options: seen.update(options) or done)
    words = ["train", str(photos), "-o", str(tmp_path / "run")]
    assert train.run(build_parser().parse_args(words)) == 0 and seen["devices"] is None
    assert train.run(build_parser().parse_args([*words, "--devices", "all"])) == 0
    assert seen["devices"] == "all"


@pytest.mark.parametrize(
    ("sides", "expected"), [((20, 24), 28), ((64, 80), 80), ((500, 375), 96), ((96, 96), 96)]
)
def test_small_images_are_not_enlarged(tmp_path, sides, expected):
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path in paths:
        Image.new("L", sides).save(path)
    (tmp_path / "notes.txt").write_text("no image")
    assert choose_image_size([*paths, tmp_path / "notes.txt"]) == expected


def test_a_recipe_is_repeated_from_the_config_of_a_run(photos, tmp_path):
    config = {"epochs": 7, "alpha": 0.5, "flip": False, "data": {"name": "x"}, "reasons": []}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    assert _check(photos, "--config", str(path)).config == {
        "alpha": 0.5, "epochs": 7, "flip": False
    }  # fmt: skip
    yaml = tmp_path / "config.yaml"
    yaml.write_text("epochs: 7\nweights: none\n")
    assert train.read_config(str(yaml)) == {"weights": "none", "epochs": 7}


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("[1]", ValueError, "must have names with values"),
        ('{"epoch": 3}', ValueError, "must have names of settings: model, .*Received: epoch"),
        ("{", ValueError, "must have names with values: Expecting property name"),
    ],
)
def test_what_is_no_config_is_refused(tmp_path, text, error, match):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(error, match=match):
        train.read_config(str(path))


def test_times_have_units():
    assert [parse_time(text) for text in ("90s", "10m", "1.5h")] == [90, 600, 5400]
    for text in ("10", "m", "-3m", "0s", "ten minutes", "nan s"):
        with pytest.raises(ValueError, match="--time must be a number and a unit"):
            parse_time(text)


@pytest.mark.parametrize(
    ("seconds", "epochs", "said"),
    [
        (1_000, 20, "epochs=20: all 20 take about 3 min 20 s of the 16 min 40 s"),
        (100, 7, "epochs=7: what fits into 1 min 40 s. With 20, which take about 4 min 46 s"),
    ],
)
def test_epochs_that_fit_into_a_time(monkeypatch, seconds, epochs, said):
    monkeypatch.setattr(time_limit, "_measure_epoch", lambda *arguments: 10.0)
    recipe, why = time_limit.limit_epochs(Recipe(epochs=20), None, None, None, seconds)
    assert recipe.epochs == epochs and why.startswith(said)
    with pytest.raises(ValueError, match="time must be at least 15 s, for one epoch"):
        time_limit.limit_epochs(Recipe(epochs=20), None, None, None, 10)


def test_freed_memory_is_kept_unless_the_user_decides(monkeypatch):
    options = []

    class Library:
        @staticmethod
        def mallopt(option, value):
            options.append(option)

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library)
    for name, *_ in quiet._MALLOC:
        monkeypatch.delenv(name, raising=False)
    quiet.keep_freed_memory()
    assert options == [-2, -1, -3]
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "0")
    quiet.keep_freed_memory()
    assert len(options) == 3
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    quiet.keep_freed_memory()  # a C library without this function
