"""An embedder's bundle enrolls and identifies with its own copy of the device part alone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

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
    backbone = keras.Model(inputs, keras.layers.Conv2D(12, 3, strides=2, activation="relu")(inputs))
    embedder = randomise(kd.models.embedding_model(backbone, 16, name="Mugs_co"))
    data = kd.data.pipeline(images(), np.zeros(120, int), normalization=normalization)
    path = tmp_path_factory.mktemp("model") / "m.tflite"
    return kd.export.to_tflite(embedder, path, quantization="int8", calibration=data)


@pytest.fixture
def folder(model, tmp_path):
    return kd.export.bundle(model, tmp_path / "pi")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Noisy pictures of three things: a0.png ... c2.png."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(3)
    for name, pixels in zip("abc", images(3, seed=6), strict=True):
        for number in range(3):
            noisy = (pixels + rng.normal(0, 3, pixels.shape)).clip(0, 255).astype("uint8")
            Image.fromarray(noisy).save(folder / f"{name}{number}.png")
    return folder


def test_what_it_holds(folder, model):
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "README.md", "SHA256SUMS", "enroll.py", "identify.py", "install-service.sh",
        "keras_dlcourse", "model.tflite", "requirements.txt", "requirements-tflite-runtime.txt",
        "mugs-co.service",
    }  # fmt: skip
    assert (folder / "model.tflite").read_bytes() == model.path.read_bytes()
    texts = [(folder / n).read_text() for n in ("README.md", "mugs-co.service")]
    assert not any("$" in text for text in texts)
    assert len(texts[0].splitlines()) <= 10 and texts[0].startswith("# Mugs_co on a")
    assert "identify.py --watch /var/lib/mugs-co/inbox" in texts[1]
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder, check=True)


@pytest.mark.parametrize("python", RUNTIMES)
def test_enroll_and_identify(folder, photos, python):
    done = run(python, folder, "enroll.py", "the ä", photos / "a0.png", photos / "a1.png")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"labels": {"the ä": 2}, "threshold": None}
    run(python, folder, "enroll.py", "b", photos / "b0.png", "--match", "mean")
    done = run(python, folder, "enroll.py", "--threshold", "0.05")
    assert json.loads(done.stdout) == {"labels": {"the ä": 2, "b": 1}, "threshold": 0.05}
    taken = [photos / f"{name}2.png" for name in "abc"]
    done = run(python, folder, "identify.py", *taken)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["label"] for result in results] == ["the ä", "b", "unknown"]
    assert [result["image"] for result in results] == [str(photo) for photo in taken]
    if python == sys.executable:
        gallery = kd.edge.Gallery.load(
            folder / "gallery.kdg", kd.edge.ImageEmbedder(folder / "model.tflite")
        )
        expected = [identity.distance for identity in gallery.identify_many(taken)]
        found = [result["distance"] for result in results]
        np.testing.assert_allclose(found, expected, atol=1e-4)
    done = run(python, folder, "enroll.py", "--remove", "b")
    assert json.loads(done.stdout)["labels"] == {"the ä": 2}


def test_what_goes_wrong_is_said(folder, photos, tmp_path):
    done = run(sys.executable, folder, "identify.py", photos / "a0.png")
    assert done.returncode == 1 and "gallery.kdg" in done.stderr
    assert "Traceback" not in done.stderr
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    done = run(sys.executable, folder, "enroll.py", "a", photos / "a0.png", bad)
    assert done.returncode == 1 and "bad.png" in done.stderr
    assert "Traceback" not in done.stderr and not (folder / "gallery.kdg").exists()
    for words in ([], ["a"], ["--gallery", "g.kdg"]):
        assert run(sys.executable, folder, "enroll.py", *words).returncode == 2
    run(sys.executable, folder, "enroll.py", "a", photos / "a0.png")
    done = run(sys.executable, folder, "identify.py", bad, photos / "a1.png")
    assert done.returncode == 1 and json.loads(done.stdout)["label"] == "a"
    assert run(sys.executable, folder, "identify.py").returncode == 2


def test_watches_a_folder_and_its_gallery(folder, photos, tmp_path):
    """What is enrolled while the service runs counts from the next image on."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    run(sys.executable, folder, "enroll.py", "a", photos / "a0.png")
    service = subprocess.Popen(
        [sys.executable, "identify.py", "--watch", str(inbox)],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        time.sleep(0.2)
        (inbox / "1.png").write_bytes((photos / "b1.png").read_bytes())
        first = json.loads(service.stdout.readline())
        run(sys.executable, folder, "enroll.py", "b", photos / "b0.png")
        (inbox / "2.png").write_bytes((photos / "b2.png").read_bytes())
        second = json.loads(service.stdout.readline())
    finally:
        service.send_signal(signal.SIGINT)
        service.wait(500)
    assert [Path(r["image"]).name for r in (first, second)] == ["1.png", "2.png"]
    assert [r["label"] for r in (first, second)] == ["a", "b"]
    assert service.returncode == 130


def test_a_vector_that_is_no_embedding_needs_labels(tmp_path, model):
    """A file that does not say it is an embedder is taken for a classifier without names."""
    plain = keras.Sequential(
        [keras.Input((16, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(4)]
    )
    result = kd.export.to_tflite(
        plain, tmp_path / "m.tflite", preprocessing=kd.data.Normalization.identity()
    )
    with pytest.raises(ValueError, match="has no class names"):
        kd.export.bundle(result, tmp_path / "b")
