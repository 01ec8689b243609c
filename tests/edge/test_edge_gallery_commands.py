from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_edge_commands import run

from keras_dlcourse.edge import UNKNOWN, Gallery, ImageEmbedder
from keras_dlcourse.edge.__main__ import main
from keras_dlcourse.edge.commands.gallery import add_enroll_parser, add_identify_parser


@pytest.fixture
def folder(tmp_path, monkeypatch, plain, embedder_file, embedding):
    """Two models, and noisy pictures of three things: a0.png ... c4.png."""
    monkeypatch.chdir(tmp_path)
    Path("model.tflite").write_bytes(embedder_file("uint8"))
    Path("other.tflite").write_bytes(embedder_file())
    Path("plain.tflite").write_bytes(plain(head="unit"))
    rng = np.random.default_rng(2)
    for name, image in zip("abc", embedding.images(3, seed=21), strict=True):
        for number in range(5):
            noisy = image + rng.integers(-6, 7, image.shape)
            Image.fromarray(noisy.clip(0, 255).astype("uint8")).save(f"{name}{number}.png")
    return tmp_path


def enroll(label, *images, model="model.tflite", gallery="g.kdg", options=()):
    return main(["enroll", model, label, *images, "-g", gallery, *options])


def test_the_road(folder, capsys):
    assert enroll("a cup", "a0.png", "a1.png") == 0
    assert enroll("b", "b0.png") == 0
    assert enroll("b", "b1.png", options=["--threshold", "0.3", "--match", "mean"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "g.kdg: 2 images of a cup, 2 images of 1 classes"
    assert lines[2] == "g.kdg: 2 images of b, 4 images of 2 classes"
    gallery = Gallery.load("g.kdg", ImageEmbedder("model.tflite"))
    assert gallery.counts == {"a cup": 2, "b": 2}
    assert (gallery.threshold, gallery.match) == (0.3, "mean")
    assert main(["identify", "model.tflite", "a3.png", "b3.png", "c3.png", "-g", "g.kdg"]) == 0
    lines = capsys.readouterr().out.splitlines()
    expected = gallery.identify_many(["a3.png", "b3.png", "c3.png"])
    assert lines[0] == f"a3.png: a cup ({expected[0].distance:.4f})"
    assert lines[1] == f"b3.png: b ({expected[1].distance:.4f})"
    nearest = expected[2].nearest
    assert lines[2] == f"c3.png: unknown, nearest is {nearest} ({expected[2].distance:.4f})"


def test_json_and_top(folder, capsys):
    enroll("a", "a0.png", "a1.png", options=["--json"])
    assert json.loads(capsys.readouterr().out) == {
        "gallery": "g.kdg", "labels": {"a": 2}, "threshold": None,
    }  # fmt: skip
    enroll("b", "b0.png", "b1.png")
    capsys.readouterr()
    words = ["identify", "model.tflite", "a4.png", "-g", "g.kdg", "--top", "3"]
    assert main([*words, "--json", "--threshold", "-1"]) == 0
    gallery = Gallery.load("g.kdg", ImageEmbedder("model.tflite"))
    matches = gallery.search("a4.png", 3)
    assert json.loads(capsys.readouterr().out) == {
        "model": "model.tflite",
        "runtime": ImageEmbedder("model.tflite").runtime,
        "results": [
            {
                "image": "a4.png",
                "label": UNKNOWN,
                "distance": matches[0].distance,
                "nearest": "a",
                "matches": [{"label": m.label, "distance": m.distance} for m in matches],
            }
        ],
    }
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("a4.png: a (")
    assert lines[1:] == [f"  {m.distance:.4f}  {m.label}" for m in matches]


def test_the_threshold_of_a_call_is_not_kept(folder, capsys):
    enroll("a", "a0.png")
    before = Path("g.kdg").read_bytes()
    words = ["identify", "model.tflite", "b0.png", "-g", "g.kdg"]
    assert main([*words, "--threshold", "0.0001"]) == 0
    assert "unknown, nearest is a" in capsys.readouterr().out
    assert main(words) == 0
    assert "b0.png: a (" in capsys.readouterr().out
    assert Path("g.kdg").read_bytes() == before


def test_one_bad_image(folder, capsys):
    """Nothing is enrolled then; identify names the others."""
    Path("bad.png").write_bytes(Path("a0.png").read_bytes()[:60])
    assert enroll("a", "a0.png", "bad.png") == 1
    assert "bad.png is a damaged or truncated image" in capsys.readouterr().err
    assert not Path("g.kdg").exists()
    enroll("a", "a0.png")
    before = Path("g.kdg").read_bytes()
    assert enroll("b", "gone.png") == 1
    assert capsys.readouterr().err == "error: gone.png: No such file or directory\n"
    assert Path("g.kdg").read_bytes() == before
    assert main(["identify", "model.tflite", "bad.png", "gone.png", "a1.png", "-g", "g.kdg"]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("a1.png: a (") and len(captured.err.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["enroll", "gone.tflite", "a", "a0.png"], "gone.tflite: No such file or directory"),
        (["enroll", "plain.tflite", "a", "a0.png"], "Pass mean= and std="),
        (["enroll", "model.tflite", "unknown", "a0.png"], "images of no enrolled class"),
        (["enroll", "model.tflite", " ", "a0.png"], "one line of non-empty UTF-8 text"),
        (["enroll", "other.tflite", "a", "a0.png"], "g.kdg was made with another model"),
        (["enroll", "model.tflite", "a", "a0.png", "--crop"], "made with crop=False"),
        (["identify", "other.tflite", "a0.png"], "g.kdg was made with another model"),
        (["identify", "model.tflite", "a0.png", "-g", "gone.kdg"], "gone.kdg: No such file"),
        (["identify", "model.tflite", "a0.png", "-g", "a0.png"], "a0.png is not a gallery"),
        (["identify", "model.tflite", "a0.png", "-g", "empty.kdg"], "gallery is empty"),
        (["identify", "a0.png", "a0.png"], "a0.png is not a .tflite file"),
    ],
)
def test_user_errors_are_one_sentence(folder, capsys, arguments, message):
    enroll("a", "a0.png")
    Gallery(ImageEmbedder("model.tflite")).save("empty.kdg")
    capsys.readouterr()
    gallery = [] if "-g" in arguments else ["-g", "g.kdg"]
    assert main([*arguments, *gallery]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["enroll", "model.tflite", "a", "-g", "g.kdg"],
        ["enroll", "model.tflite", "a", "a0.png"],
        ["enroll", "model.tflite", "a", "a0.png", "-g", "g.kdg", "--threshold", "near"],
        ["enroll", "model.tflite", "a", "a0.png", "-g", "g.kdg", "--match", "closest"],
        ["identify", "model.tflite", "a0.png", "-g", "g.kdg", "--threshold", "nan"],
        ["identify", "model.tflite", "a0.png", "-g", "g.kdg", "--top", "0"],
    ],
)
def test_bad_usage(folder, capsys, arguments):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_plain_files(folder, capsys):
    options = ["--mean", "73", "--std", "90", "--l2-normalize", "--threads", "2"]
    assert enroll("a", "a0.png", model="plain.tflite", options=options) == 0
    assert main(["identify", "plain.tflite", "a1.png", "-g", "g.kdg", *options]) == 0
    assert "a1.png: a (" in capsys.readouterr().out


def test_the_parsers_serve_another_program(folder, capsys):
    parser = argparse.ArgumentParser(prog="keras-dlcourse")
    subparsers = parser.add_subparsers()
    add_enroll_parser(subparsers)
    add_identify_parser(subparsers)
    arguments = parser.parse_args(["enroll", "model.tflite", "a", "a0.png", "-g", "g.kdg"])
    assert arguments.func(arguments) == 0
    for name in ("enroll", "identify"):
        text = subparsers.choices[name].format_help()
        assert f"keras-dlcourse {name} embedder.int8.tflite" in text


@pytest.mark.skipif(
    "KD_RUNTIME_PYTHON" not in os.environ,
    reason="KD_RUNTIME_PYTHON names no interpreter that has tflite-runtime",
)
@pytest.mark.parametrize("model", ["model.tflite", "other.tflite"])
def test_tflite_runtime_reads_the_same_gallery(folder, model):
    """Enrolled with one runtime, identified with the other: NumPy 1 and 2 read one file."""
    pythons = sys.executable, os.environ["KD_RUNTIME_PYTHON"]
    run(pythons[0], "enroll", model, "a", "a0.png", "a1.png", "-g", "g.kdg")
    run(pythons[1], "enroll", model, "b", "b0.png", "b1.png", "-g", "g.kdg")
    run(pythons[1], "enroll", model, "c", "c0.png", "-g", "g.kdg", "--threshold", "0.5")
    names = [f"{name}{number}.png" for name in "abc" for number in range(5)]
    ours, theirs = (run(p, "identify", model, *names, "-g", "g.kdg") for p in pythons)
    assert ours["runtime"].startswith("ai-edge-litert")
    assert theirs["runtime"].startswith("tflite-runtime")
    for one, other in zip(ours["results"], theirs["results"], strict=True):
        assert one["label"] == other["label"] == one["image"][0]
        assert one["distance"] == pytest.approx(other["distance"], abs=0.02)
