"""A bundle runs in an environment that has what its own requirements file says, no more."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_models import images

import keras_dlcourse as kd

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(files, tmp_path_factory):
    return kd.export.bundle(files["int8"], tmp_path_factory.mktemp("bundle") / "pi")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number, pixels in enumerate(images(4, seed=5)):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


def run(python, folder, *arguments):
    """Run the bundle's script as a device does: nothing of this checkout on its path."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "KERAS"))}
    return subprocess.run(
        [python, "classify.py", *map(str, arguments)],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=500,
    )  # fmt: skip


def test_what_it_holds(folder, files):
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "README.md", "SHA256SUMS", "classify.py", "install-service.sh", "keras_dlcourse",
        "model.tflite", "requirements.txt", "requirements-tflite-runtime.txt", "small.service",
    }  # fmt: skip
    assert (folder / "model.tflite").read_bytes() == files["int8"].path.read_bytes()
    for path in (folder / "README.md", folder / "small.service", folder / "install-service.sh"):
        assert "$name" not in path.read_text() and "$service" not in path.read_text()
    assert len((folder / "README.md").read_text().splitlines()) <= 10
    assert "shirt" in (folder / "README.md").read_text()
    assert subprocess.run(["bash", "-n", folder / "install-service.sh"], check=True)


def test_checksums_are_of_every_file(folder):
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    found = {name for name in found if "__pycache__" not in name}
    assert set(sums) == found - {"SHA256SUMS"}
    for name, digest in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder, check=True)


def test_runs_and_uses_its_own_copy(folder, photos, files):
    done = run(sys.executable, folder, *photos)
    assert done.returncode == 0, done.stderr
    ours = kd.edge.ImageClassifier(files["int8"].path)
    for line, photo in zip(done.stdout.splitlines(), photos, strict=True):
        result = json.loads(line)
        best = ours.classify(photo, max_results=3)
        assert result["image"] == str(photo)
        assert [c["label"] for c in result["categories"]] == [c.label for c in best]
        np.testing.assert_allclose(
            [c["score"] for c in result["categories"]], [c.score for c in best], atol=1e-4
        )


def test_one_bad_image_does_not_stop_the_others(folder, photos, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    done = run(sys.executable, folder, bad, photos[0])
    assert done.returncode == 1
    assert "bad.png" in done.stderr and "Traceback" not in done.stderr
    assert json.loads(done.stdout)["image"] == str(photos[0])
    assert run(sys.executable, folder).returncode == 2


def test_watches_a_folder(folder, photos, tmp_path):
    service = subprocess.Popen(
        [sys.executable, "classify.py", "--watch", str(tmp_path)],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        time.sleep(0.2)
        (tmp_path / "notes.txt").write_text("not an image")
        (tmp_path / "a.png").write_bytes(photos[0].read_bytes())
        first = json.loads(service.stdout.readline())
        (tmp_path / "b.png").write_bytes(photos[1].read_bytes())
        second = json.loads(service.stdout.readline())
    finally:
        service.send_signal(signal.SIGINT)
        service.wait(500)
    assert [Path(r["image"]).name for r in (first, second)] == ["a.png", "b.png"]
    assert service.returncode == 130


def test_tflite_runtime(folder, photos):
    """An old board: tflite-runtime 2.14, NumPy 1, no Keras."""
    python = os.environ.get("KD_RUNTIME_PYTHON")
    if not python:
        pytest.skip("KD_RUNTIME_PYTHON names no interpreter with tflite-runtime")
    here, board = run(sys.executable, folder, *photos), run(python, folder, *photos)
    assert board.returncode == 0, board.stderr
    assert "tflite-runtime 2.14" in board.stderr
    assert "ai-edge-litert" in here.stderr
    for one, other in zip(here.stdout.splitlines(), board.stdout.splitlines(), strict=True):
        scores = [
            {c["label"]: c["score"] for c in json.loads(line)["categories"]}
            for line in (one, other)
        ]
        shared = scores[0].keys() & scores[1].keys()
        assert max(scores[0], key=scores[0].get) == max(scores[1], key=scores[1].get)
        for label in shared:
            assert scores[0][label] == pytest.approx(scores[1][label], abs=1 / 255)


class TestRefused:
    def test_target(self, files, tmp_path):
        with pytest.raises(
            ValueError, match="target must be one of 'raspberry-pi'. Received: 'toaster'"
        ):
            kd.export.bundle(files["int8"], tmp_path / "b", target="toaster")
        assert not list(tmp_path.iterdir())

    def test_folder_with_something_in_it(self, files, tmp_path):
        (tmp_path / "mine.txt").write_text("keep")
        with pytest.raises(FileExistsError, match="not empty"):
            kd.export.bundle(files["int8"], tmp_path)
        assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]

    def test_damaged_model(self, files, tmp_path):
        damaged = tmp_path / "m.tflite"
        damaged.write_bytes(files["int8"].path.read_bytes()[:2000])
        with pytest.raises(kd.edge.InvalidModel):
            kd.export.bundle(damaged, tmp_path / "b")
        assert [p.name for p in tmp_path.iterdir()] == ["m.tflite"]

    def test_no_labels(self, classifier, tmp_path):
        result = kd.export.to_tflite(
            classifier, tmp_path / "m.tflite", preprocessing=kd.data.Normalization.identity()
        )
        with pytest.raises(ValueError, match="has no class names"):
            kd.export.bundle(result, tmp_path / "b")


@pytest.mark.release
@pytest.mark.parametrize(
    ("file", "python"),
    [("requirements.txt", "3.11"), ("requirements.txt", "3.13"),
     ("requirements-tflite-runtime.txt", "3.11")],
)  # fmt: skip
def test_every_requirement_has_an_aarch64_wheel(tmp_path, file, python):
    platforms = [f"manylinux_2_{n}_aarch64" for n in (17, 27, 28, 34)] + ["manylinux2014_aarch64"]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
    for platform in platforms:
        command += ["--platform", platform]
    requirements = ROOT / "export" / "raspberry_pi" / file
    command += ["--python-version", python, "-d", str(tmp_path), "-r", str(requirements)]
    subprocess.run(command, check=True)
    pinned = [line for line in requirements.read_text().splitlines() if "==" in line]
    assert len(list(tmp_path.glob("*.whl"))) == len(pinned) >= 3


@pytest.mark.release
@pytest.mark.parametrize("file", ["requirements.txt", "requirements-tflite-runtime.txt"])
def test_in_a_new_environment(folder, photos, tmp_path, file):
    """As the bundle's README says it: a virtual environment, its requirements, its script."""
    if "tflite" in file and sys.version_info[:2] != (3, 11):
        pytest.skip("tflite-runtime has no wheel for this Python")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", folder / file], check=True)
    done, here = run(python, folder, *photos), run(sys.executable, folder, *photos)
    assert done.returncode == 0, done.stderr
    listed = subprocess.run(
        [python, "-m", "pip", "list"], check=True, capture_output=True, text=True
    ).stdout.lower()
    assert "keras" not in listed and "tensorflow" not in listed
    for one, other in zip(done.stdout.splitlines(), here.stdout.splitlines(), strict=True):
        ours, theirs = (json.loads(line)["categories"] for line in (one, other))
        assert ours[0]["label"] == theirs[0]["label"]
        assert ours[0]["score"] == pytest.approx(theirs[0]["score"], abs=1 / 255)
