"""`keras-dlcourse data`, and how the data of `train` are read and split."""

from __future__ import annotations

import argparse
import json
import shutil

import pytest

from keras_dlcourse.cli import main
from keras_dlcourse.cli.usage import cache_option


def command(*words):
    return main([str(word) for word in words])


def test_data_shows_what_a_folder_contains(photos, tmp_path, capsys):
    words = ["data", photos, "--image-size", 32]
    assert command(*words) == 0
    out = capsys.readouterr().out
    assert "shapes: images of 32x32x3 in 2 classes" in out
    assert "130 PNG, of 32x24 pixels" in out
    folder = shutil.copytree(photos, tmp_path / "photos")
    shutil.copy(folder / "across" / "0.png", folder / "down & <b>" / "same.png")
    (folder / "across" / "bad.png").write_text("no image")
    with pytest.warns(UserWarning, match="1 of 132"):
        assert command("data", folder, "--image-size", 32) == 1
    out = capsys.readouterr().out
    assert "Unreadable: 1 file is skipped" in out and "Labels: 1 image is identical" in out


def test_decoded_images_are_kept_where_the_command_says(photos, tmp_path, capsys):
    words = ["data", photos, "--image-size", 32]
    command(*words, "--cache", "none")
    without = capsys.readouterr()
    assert "decoded images" not in without.err
    for verb in ("Caching 130", "Reading 130"):
        command(*words, "--cache", tmp_path / "cache")
        found = capsys.readouterr()
        assert found.out == without.out
        assert f"{verb} decoded images (399.4 kB) " in found.err and "cache/shapes-" in found.err


@pytest.mark.parametrize(
    ("given", "expected"),
    [(None, {}), ("auto", {}), ("none", {"cache": False}), ("a/b", {"cache": "a/b"})],
)
def test_what_can_be_said_about_the_cache(given, expected):
    assert cache_option(argparse.Namespace(cache=given)) == expected


def test_a_table_is_split_and_trained(photos, tmp_path, capsys):
    files = sorted(photos.rglob("*.png"))
    lines = [f"{file},{file.parent.name},{int(file.stem) // 5}" for file in files]
    table = tmp_path / "labels.csv"
    table.write_text("file,label,scene\n" + "\n".join(lines))
    words = ["train", table, "--model", "tiny", "--image-size", 32, "--epochs", 1]
    words += ["--split", 60, 20, 20, "--group-by", "scene", "-o", tmp_path / "run"]
    assert command(*words) == 0
    assert "130 images in 2 classes, 65 of each: 70 train, 30 validation, 30 test" in (
        capsys.readouterr().out
    )
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    sizes = [config["data"][part] for part in ("train", "validation", "test")]
    assert sizes == [70, 30, 30]  # whole scenes of 10 images


@pytest.mark.parametrize("parts", [(0.5, 0.2, 0.2), (120, -10, -10), (1, 1, 1)])
def test_parts_that_are_no_fractions(photos, capsys, parts):
    assert command("data", photos, "--split", *parts) == 2
    assert "--split must be three numbers above 0 whose sum is 1 or 100" in capsys.readouterr().err


def test_help_has_examples_and_says_the_exit_code(capsys):
    with pytest.raises(SystemExit):
        command("data", "--help")
    out = capsys.readouterr().out
    assert "keras-dlcourse data photos/" in out and "exit code is 1 if" in out
