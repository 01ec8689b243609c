"""A segmenter's bundle finds masks with its own copy of the device part alone."""

from __future__ import annotations

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from bundled import RUNTIMES, run
from PIL import Image
from small_models import images, randomise

import keras_dlcourse as kd


@pytest.fixture(scope="module")
def model(tmp_path_factory, normalization):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(3, 3, strides=2, padding="same", activation="softmax")(inputs)
    network = randomise(keras.Model(inputs, x, name="Yard"))
    path = tmp_path_factory.mktemp("model") / "m.tflite"
    labels = ["grass", "häuser", "path"]
    return kd.export.to_tflite(network, path, labels=labels, preprocessing=normalization)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    return kd.export.bundle(model, tmp_path_factory.mktemp("bundle") / "pi")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number, pixels in enumerate(images(2, seed=5)):
        Image.fromarray(pixels).resize((24, 20)).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


def test_what_it_holds(folder):
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "SHA256SUMS", "install-service.sh", "keras_dlcourse", "model.tflite",
        "requirements.txt", "requirements-tflite-runtime.txt", "segment.py", "yard.service",
    }  # fmt: skip
    texts = [(folder / name).read_text() for name in ("README.md", "yard.service")]
    assert not any("$" in text for text in texts)
    assert len(texts[0].splitlines()) <= 10 and "grass, häuser, path" in texts[0]
    assert "segment.py --watch /var/lib/yard/inbox" in texts[1]
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder, check=True)


@pytest.mark.parametrize("python", RUNTIMES)
def test_masks_are_those_of_the_library(folder, photos, tmp_path, python):
    overlays, masks = tmp_path / "overlays", tmp_path / "masks"
    done = run(python, folder, "segment.py", *photos, "-o", overlays, "--masks", masks)
    assert done.returncode == 0, done.stderr
    segmenter = kd.edge.ImageSegmenter(folder / "model.tflite")
    for line, photo in zip(done.stdout.splitlines(), photos, strict=True):
        result, found = json.loads(line), segmenter.segment(photo)
        assert result["image"] == str(photo)
        assert result["areas"] == pytest.approx(found.areas, abs=0.01)
        assert Image.open(overlays / f"{photo.name}.png").size == (24, 20)
        mask = np.asarray(Image.open(masks / f"{photo.name}.png"))
        assert (mask == found.category_mask).mean() > 0.99  # the runtimes may round differently


def test_what_goes_wrong_is_said(folder, photos, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    done = run(sys.executable, folder, "segment.py", bad, photos[0])
    assert done.returncode == 1 and "bad.png" in done.stderr and "Traceback" not in done.stderr
    assert json.loads(done.stdout)["image"] == str(photos[0])
    for words, message in (
        ([], "pass either images or --watch"),
        ([photos[0], photos[0]], "the images must have different names"),
        (["--watch", tmp_path, "-o", tmp_path], "outside of the watched folder"),
    ):
        done = run(sys.executable, folder, "segment.py", *words)
        assert done.returncode == 2 and message in done.stderr


def test_a_segmenter_needs_names(tmp_path):
    inputs = keras.Input((16, 16, 3))
    network = keras.Model(inputs, keras.layers.Conv2D(3, 1, activation="softmax")(inputs))
    result = kd.export.to_tflite(
        network, tmp_path / "m.tflite", preprocessing=kd.data.Normalization.identity()
    )
    with pytest.raises(ValueError, match="has no class names"):
        kd.export.bundle(result, tmp_path / "b")
