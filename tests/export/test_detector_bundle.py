"""A detector's bundle finds objects with its own copy of the device part alone."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from bundled import RUNTIMES, run
from PIL import Image
from small_detector import NORMALIZATION, scenes

import keras_dlcourse as kd


@pytest.fixture(scope="module")
def folder(detector_files, tmp_path_factory):
    return kd.export.bundle(detector_files["int8"], tmp_path_factory.mktemp("bundle") / "pi")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number, pixels in enumerate(scenes(2, seed=5)[0]):
        Image.fromarray(pixels).resize((72, 60)).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


def test_what_it_holds(folder):
    (service,) = folder.glob("*.service")
    assert {path.name for path in folder.iterdir()} - {service.name} == {
        "README.md", "SHA256SUMS", "detect.py", "install-service.sh", "keras_dlcourse",
        "model.tflite", "requirements.txt", "requirements-tflite-runtime.txt",
    }  # fmt: skip
    readme, unit = (path.read_text() for path in (folder / "README.md", service))
    assert "$" not in readme + unit
    assert len(readme.splitlines()) <= 10 and "red, grün, blue" in readme
    assert f"detect.py --watch /var/lib/{service.stem}/inbox" in unit
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder, check=True)


@pytest.mark.parametrize("python", RUNTIMES)
def test_boxes_are_those_of_the_library(folder, photos, tmp_path, python):
    drawn = tmp_path / "drawn"
    done = run(python, folder, "detect.py", *photos, "-o", drawn, "--score-threshold", "0.5")
    assert done.returncode == 0, done.stderr
    detector = kd.edge.ObjectDetector(folder / "model.tflite")
    for line, photo in zip(done.stdout.splitlines(), photos, strict=True):
        result, found = json.loads(line), detector.detect(photo, score_threshold=0.5)
        assert result["image"] == str(photo)
        assert len(result["detections"]) == len(found) > 0
        for one, expected in zip(result["detections"], found, strict=True):
            (category,) = expected.categories
            assert one["label"] == category.label
            assert one["score"] == pytest.approx(category.score, abs=0.02)  # runtimes round
            assert one["box"] == pytest.approx([*expected.bounding_box], abs=2)
        picture = Image.open(drawn / f"{photo.name}.png")
        assert picture.size == (72, 60)
        assert picture.tobytes() != Image.open(photo).tobytes()


def test_what_goes_wrong_is_said(folder, photos, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    done = run(sys.executable, folder, "detect.py", bad, photos[0])
    assert done.returncode == 1 and "bad.png" in done.stderr and "Traceback" not in done.stderr
    assert json.loads(done.stdout)["image"] == str(photos[0])
    for words, message in (
        ([], "pass either images or --watch"),
        ([photos[0], photos[0]], "the images must have different names"),
        (["--watch", tmp_path / "none"], "does not exist"),
        (["--watch", tmp_path, "-o", tmp_path], "outside of the watched folder"),
    ):
        done = run(sys.executable, folder, "detect.py", *words)
        assert done.returncode == 2 and message in done.stderr


def test_a_detector_needs_names(detector_model, tmp_path):
    result = kd.export.to_tflite(detector_model, tmp_path / "m.tflite", preprocessing=NORMALIZATION)
    with pytest.raises(ValueError, match="has no class names"):
        kd.export.bundle(result, tmp_path / "b")
