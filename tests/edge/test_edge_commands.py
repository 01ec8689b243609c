from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tflite_files import LABELS, MEAN, STD

from keras_dlcourse.edge import ImageClassifier
from keras_dlcourse.edge.__main__ import main
from keras_dlcourse.edge.commands.classify import add_benchmark_parser, add_classify_parser

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path, monkeypatch, plain, described, network):
    monkeypatch.chdir(tmp_path)
    Path("model.tflite").write_bytes(described("uint8"))
    Path("plain.tflite").write_bytes(plain())
    Path("labels.txt").write_text("\n".join(LABELS) + "\n")
    for name, image in zip("ab", network.images(2), strict=True):
        Image.fromarray(image).save(f"{name}.png")
    return tmp_path


def test_classify(folder, capsys):
    assert main(["classify", "model.tflite", "a.png", "b.png", "--max-results", "2"]) == 0
    expected = ImageClassifier("model.tflite").classify_batch(["a.png", "b.png"], 2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "a.png"
    assert lines[1] == f"  {expected[0][0].score:.4f}  {expected[0][0].label}"
    assert lines[3] == "b.png"
    assert len(lines) == 6


def test_classify_json(folder, capsys):
    arguments = [
        "plain.tflite",
        "a.png",
        "--labels",
        "labels.txt",
        "--mean",
        f"{MEAN},{MEAN},{MEAN}",
    ]
    assert main(["classify", *arguments, "--std", str(STD), "--threads", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    classifier = ImageClassifier("plain.tflite", labels=LABELS, mean=MEAN, std=STD)
    assert found["model"] == "plain.tflite"
    assert found["runtime"] == classifier.runtime
    assert found["results"] == [
        {"image": "a.png", "categories": [c._asdict() for c in classifier.classify("a.png")]}
    ]


def test_threshold(folder, capsys):
    assert main(["classify", "model.tflite", "a.png", "--score-threshold", "2"]) == 0
    said = "a.png\n  none: no class reaches its threshold\n"
    assert capsys.readouterr().out == said


def test_one_bad_image_does_not_stop_the_others(folder, capsys):
    Path("bad.png").write_bytes(Path("a.png").read_bytes()[:60])
    code = main(["classify", "model.tflite", "bad.png", "gone.png", "b.png", "--json"])
    captured = capsys.readouterr()
    assert code == 1
    assert [r["image"] for r in json.loads(captured.out)["results"]] == ["b.png"]
    errors = captured.err.splitlines()
    assert len(errors) == 2
    assert errors[0].startswith("error: bad.png is a damaged or truncated image")
    assert errors[1] == "error: gone.png: No such file or directory"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["classify", "gone.tflite", "a.png"], "gone.tflite: No such file or directory"),
        (["classify", "a.png", "a.png"], "a.png is not a .tflite file"),
        (["classify", "plain.tflite", "a.png"], "Pass mean= and std="),
        (["classify", "plain.tflite", "a.png", "--mean", "0"], "passed together"),
        (["classify", "plain.tflite", "a.png", "--mean", "0", "--std", "1"], "Pass labels="),
        (["classify", "model.tflite", "a.png", "--labels", "gone.txt"], "gone.txt: No such file"),
        (["classify", "model.tflite", "a.png", "--labels", "a.png"], "a.png"),
        (["benchmark", "gone.tflite"], "gone.tflite: No such file or directory"),
        (["benchmark", "labels.txt"], "labels.txt is not a .tflite file"),
    ],
)
def test_user_errors_are_one_sentence(folder, capsys, arguments, message):
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["classify", "model.tflite"],
        ["classify", "model.tflite", "a.png", "--max-results", "0"],
        ["classify", "model.tflite", "a.png", "--mean", "grey"],
        ["benchmark", "model.tflite", "--threads", "-1"],
        ["benchmark", "model.tflite", "--runs", "many"],
    ],
)
def test_bad_usage(folder, capsys, arguments):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_benchmark(folder, capsys):
    for model in ("model.tflite", "plain.tflite"):
        assert main(["benchmark", model, "--runs", "5"]) == 0
        assert f"{model}: " in (out := capsys.readouterr().out)
        assert "ms median" in out
    assert main(["benchmark", "model.tflite", "--runs", "5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["runs"] == 5
    assert found["bytes"] == Path("model.tflite").stat().st_size
    assert found["median_ms"] > 0


def test_the_parsers_serve_another_program(folder, capsys):
    parser = argparse.ArgumentParser(prog="keras-dlcourse")
    subparsers = parser.add_subparsers()
    add_classify_parser(subparsers)
    add_benchmark_parser(subparsers)
    arguments = parser.parse_args(["classify", "model.tflite", "a.png"])
    assert arguments.func(arguments) == 0
    assert "a.png" in capsys.readouterr().out
    assert "keras-dlcourse classify model.int8.tflite photo.jpg" in (
        subparsers.choices["classify"].format_help()
    )


def run(python: str, *arguments: str) -> dict:
    child = subprocess.run(
        [python, "-m", "keras_dlcourse.edge", *arguments, "--json"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
    )
    return json.loads(child.stdout)


def test_as_a_program(folder):
    found = run(sys.executable, "classify", "model.tflite", "a.png")
    assert found["results"][0]["categories"][0]["label"] in LABELS


@pytest.mark.skipif(
    "KD_RUNTIME_PYTHON" not in os.environ,
    reason="KD_RUNTIME_PYTHON names no interpreter that has tflite-runtime",
)
@pytest.mark.parametrize("io_type", ["float32", "uint8", "int8"])
def test_tflite_runtime_gives_the_same(folder, described, network, io_type):
    # Integer kernels of the two round differently (XNNPACK in the newer one): a step of the last
    # sum, which a network of small logits does not turn into several of the softmax.
    Path("model.tflite").write_bytes(described(io_type, gain=0.1))
    images = []
    for number, image in enumerate(network.images(12, seed=7)):
        images.append(f"{number}.png")
        Image.fromarray(image.repeat(3, 0).repeat(3, 1)).save(images[-1])
    arguments = ["classify", "model.tflite", *images]
    found = [run(p, *arguments) for p in (sys.executable, os.environ["KD_RUNTIME_PYTHON"])]
    assert found[0]["runtime"].startswith("ai-edge-litert ")
    assert found[1]["runtime"].startswith("tflite-runtime ")
    step = 1 / 256 if io_type != "float32" else 1e-5
    for ours, theirs in zip(found[0]["results"], found[1]["results"], strict=True):
        scores = [{c["label"]: c["score"] for c in r["categories"]} for r in (ours, theirs)]
        assert scores[0].keys() == scores[1].keys()
        assert max(abs(scores[0][k] - scores[1][k]) for k in scores[0]) <= step * 1.001
        best = [c["score"] for c in ours["categories"][:2]]
        if best[0] - best[1] > 2 * step:
            assert ours["categories"][0]["label"] == theirs["categories"][0]["label"]
    assert len({r["categories"][0]["label"] for r in found[0]["results"]}) > 2


def test_images_of_any_kind(folder, capsys):
    Image.fromarray(np.zeros((9, 30), "uint8")).save("grey.gif")
    Image.new("RGBA", (40, 8)).save("clear.webp")
    assert main(["classify", "model.tflite", "grey.gif", "clear.webp", "--crop"]) == 0
    assert capsys.readouterr().err == ""
