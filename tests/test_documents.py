"""The code in the documents runs as it stands; only numbers of epochs are cut."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.util
import io
import json
import operator
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image

import keras_dlcourse as kd

ROOT = Path(__file__).parents[1]


def python_blocks(document: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / document).read_text(), re.S | re.M)


def accuracy_on_raw_images(path, model, data, images=1000):
    """Measure a file, opened as on a device on raw pixels, beside its Keras model.

    Returns:
        The accuracy of the file and that of Keras.
    """
    pixels, labels = data.x[:images], data.y[:images]
    with kd.edge.ImageClassifier(path) as classifier:
        height, width, channels = classifier.input_shape
        assert (height, width) == pixels.shape[1:3]
        device = classifier.scores(np.repeat(pixels, channels // pixels.shape[-1], axis=-1))
    keras_scores = model.predict(data.prepare(pixels), batch_size=100, verbose=0)
    return tuple(float(np.mean(scores.argmax(1) == labels)) for scores in (device, keras_scores))


def mediapipe_best_labels(path, pixels):
    """Open a file with MediaPipe Tasks as it is, and return the best label of each image."""
    try:
        import mediapipe as mp
        from mediapipe.tasks.python import BaseOptions, vision

        options = vision.ImageClassifierOptions(
            BaseOptions(model_asset_buffer=Path(path).read_bytes()), max_results=1
        )
        classifier = vision.ImageClassifier.create_from_options(options)
    except (ImportError, OSError) as error:
        pytest.skip(f"mediapipe cannot be loaded here: {error}")
    with classifier:
        found = [
            classifier.classify(mp.Image(image_format=mp.ImageFormat.SRGB, data=image))
            for image in np.repeat(pixels, 3, axis=-1)
        ]
    return [result.classifications[0].categories[0].category_name for result in found]


def small_network(input_shape, classes, preprocessing, alpha=1.0):
    """Build a network that learns in seconds, called as those of `kd.models` are."""
    conv = functools.partial(keras.layers.Conv2D, padding="same", activation="relu")
    inputs = keras.Input(input_shape)
    x = kd.layers.ImageDescription(preprocessing, classes)(inputs)
    x = conv(32, 3)(conv(16, 3, strides=2)(x))
    x = keras.layers.GlobalAveragePooling2D()(conv(64, 3, strides=2)(x))
    return keras.Model(inputs, keras.layers.Dense(len(classes), "softmax")(x))


def test_blocks_that_train_in_integers_do_so_at_a_tenth_of_the_rate():
    """Adam's own rate, 1e-3, undoes part of what a network has learned: 3.6 points were lost."""
    documents = ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
    blocks = {name: block for name in documents for block in python_blocks(name)
              if ".quantization_aware(" in block and ".fit(" in block}  # fmt: skip
    assert {"README.md", "docs/quantization.md"} <= set(blocks)
    for name, block in blocks.items():
        trained = block[block.index(".quantization_aware(") :]
        assert "keras.optimizers.Adam(1e-4)" in trained, name


@pytest.mark.parametrize("network", [
    pytest.param(small_network, marks=pytest.mark.slow, id="a small network"),
    pytest.param(kd.models.MobileNetV2, marks=pytest.mark.release, id="its own"),
])  # fmt: skip
def test_readme(tmp_path, monkeypatch, capsys, network):
    """All three blocks, each file opened on raw images; only epochs and width are cut."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kd.models, "MobileNetV2", network)
    desk, device, aware = python_blocks("README.md")
    names: dict = {}
    exec(desk.replace("epochs=30", "epochs=2").replace("alpha=0.35", "alpha=0.1"), names)
    assert capsys.readouterr().out.rstrip().endswith("\nagrees")
    assert list(Path("runs/cam").glob("*.png"))
    test = names["data"].test
    after_training, keras_accuracy = accuracy_on_raw_images(
        "model.int8.tflite", names["model"], test
    )
    assert abs(after_training - keras_accuracy) < 0.03

    Image.fromarray(test.x[0, ..., 0]).save("shirt.png")
    exec(device, {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    scores = [float(line.rsplit(" ", 1)[1]) for line in lines]
    assert scores == sorted(scores, reverse=True)

    exec(aware.replace("epochs=2", "epochs=1"), names)
    rates = [float(names[name].optimizer.learning_rate) for name in ("aware", "model")]
    assert rates[0] == pytest.approx(rates[1] / 10)
    assert "what to do" in capsys.readouterr().out
    trained, keras_accuracy = accuracy_on_raw_images("model.int8.tflite", names["aware"], test)
    assert abs(trained - keras_accuracy) < 0.03
    assert trained >= after_training
    # "MediaPipe Tasks (...) opens the same file directly."
    with kd.edge.ImageClassifier("model.int8.tflite") as classifier:
        pixels = np.repeat(test.x[:50], 3, axis=-1)
        ours = [test.class_names[best] for best in classifier.scores(pixels).argmax(1)]
    theirs = mediapipe_best_labels("model.int8.tflite", test.x[:50])
    assert np.mean(np.array(ours) == theirs) >= 0.96


@pytest.mark.slow
class TestBlocksThatWriteFiles:
    """Of the pages that go on from README: on raw images, a file is as accurate as Keras."""

    @pytest.fixture(scope="class")
    @classmethod
    def names(cls):
        """A data set and a small network, as README leaves them behind."""
        data = kd.data.load("fashion_mnist_small")
        keras.utils.set_random_seed(0)
        model = small_network(data.image_shape, data.class_names, data.normalization)
        loss = "sparse_categorical_crossentropy"
        model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
        model.fit(data.train, epochs=3, verbose=0)
        return {"keras": keras, "kd": kd, "data": data, "model": model}

    @pytest.fixture(scope="class")
    @classmethod
    def after_training(cls, names, tmp_path_factory):
        """The file that docs/export.md writes."""
        (block,) = python_blocks("docs/export.md")
        folder = tmp_path_factory.mktemp("export")
        with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()) as shown:
            exec(block, dict(names))
        assert "\nagrees\n" in shown.getvalue()
        return folder / "model.int8.tflite"

    @pytest.fixture(autouse=True)
    def there(self, after_training, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        shutil.copy(after_training, "model.int8.tflite")

    def test_export(self, names):
        device, keras_accuracy = accuracy_on_raw_images(
            "model.int8.tflite", names["model"], names["data"].test
        )
        assert keras_accuracy > 0.6 and abs(device - keras_accuracy) < 0.02

    def test_quantization(self, names, after_training, capsys):
        """Training in integers: as accurate as Keras, and not behind quantization after it."""
        mine, test = dict(names), names["data"].test
        exec(python_blocks("docs/quantization.md")[0].replace("epochs=2", "epochs=1"), mine)
        shown = capsys.readouterr().out
        assert "\nagrees\n" in shown and "what to do" in shown
        device, keras_accuracy = accuracy_on_raw_images("model.int8.tflite", mine["aware"], test)
        assert abs(device - keras_accuracy) < 0.02
        assert device >= accuracy_on_raw_images(after_training, names["model"], test)[0]

    def test_preflight(self, names, capsys):
        (block,) = python_blocks("docs/preflight.md")
        exec(block, {**names, "result": "model.int8.tflite"})
        shown = capsys.readouterr().out
        assert "what to do" in shown or shown.count(" runs ") >= 5

    def test_device(self, names):
        """Maps and embeddings: the blocks that write a file, and those that read it."""
        blocks = python_blocks("docs/device.md")
        classify, mapped, maps, embedder, gallery, arrays, foreign = blocks
        test = names["data"].test
        for name in ("photo", "a", "b", "mug1", "mug2", "mug3"):
            Image.fromarray(test.x[0, ..., 0]).save(f"{name}.jpg")
        device: dict = {}
        exec("from keras_dlcourse.edge import *", device)
        exec(classify, device)
        exec(mapped, dict(names))
        exec(maps.replace('"cat"', repr(test.class_names[0])), device)
        assert Image.open("overlay.png").size == (28, 28)
        found, keras_accuracy = accuracy_on_raw_images("mapped.tflite", names["model"], test)
        assert abs(found - keras_accuracy) < 0.02

        backbone = keras.Model(names["model"].input, names["model"].layers[-2].output)
        mine = {**names, "backbone": backbone}
        exec(embedder, mine)
        with kd.edge.ImageEmbedder("embedder.int8.tflite") as on_device:
            vectors = on_device.embed_many(np.repeat(test.x[:100], 3, axis=-1))
        expected = mine["embedder"].predict(test.prepare(test.x[:100]), verbose=0)
        assert np.mean(np.sum(vectors * expected, axis=1)) > 0.98
        exec(gallery, {})
        assert Path("gallery.kdg").is_file()

        rng = np.random.default_rng(0)
        features = keras.Input((13,), name="features")
        prices = keras.Model(features, keras.layers.Dense(1)(features))
        x = rng.normal(size=(100, 13)).astype("float32")
        kd.export.to_tflite(prices, "prices.int8.tflite", quantization="int8", calibration=x)
        tokens, age = keras.Input((5,), dtype="int32", name="tokens"), keras.Input((1,), name="age")
        words = keras.layers.Flatten()(keras.layers.Embedding(20, 4)(tokens))
        stars = keras.layers.Dense(1)(keras.layers.Concatenate()([words, age]))
        kd.export.to_tflite(keras.Model([tokens, age], [stars, words]), "ratings.tflite")
        arrays_of = {"features": x, "tokens": rng.integers(0, 20, (7, 5)), "ages": np.ones((7, 1))}
        exec(arrays, arrays_of)
        expected = prices.predict(x, verbose=0)
        assert np.abs(arrays_of["prices"] - expected).max() < 0.05 * np.ptp(expected)
        assert arrays_of["stars"].shape == (7, 1) and arrays_of["words"].shape == (7, 20)

        Path("mobilenet.tflite").write_bytes(Path("model.int8.tflite").read_bytes())
        Path("labels.txt").write_text("\n".join(test.class_names))
        exec(foreign, device)

    def test_microcontroller(self, names, capsys):
        pytest.importorskip("tflite_micro")
        (block,) = python_blocks("docs/microcontroller.md")
        exec(block, dict(names))
        assert "arena" in capsys.readouterr().out
        device, keras_accuracy = accuracy_on_raw_images(
            "model.int8.tflite", names["model"], names["data"].test
        )
        assert abs(device - keras_accuracy) < 0.02


def test_boxes(capsys):
    """What comes back from codes and NMS are the true boxes: mAP 1."""
    (block,) = python_blocks("docs/boxes.md")
    exec(block, {})
    assert capsys.readouterr().out.split() == ["0.0", "1.0"]


@pytest.mark.slow
def test_retrieval(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kd.models, "MobileNetV2", small_network)
    search, identification = python_blocks("docs/retrieval.md")
    names: dict = {}
    exec(search.replace("epochs=10", "epochs=2").replace("alpha=0.35", "alpha=0.1"), names)
    assert "'recall@1': 0." in capsys.readouterr().out
    assert Path("clothes.kdindex").exists() and Image.open("neighbours.png").size > (500, 500)
    assert (names["found"].labels[:, 0] == names["names"][names["data"].test.y]).mean() > 0.3
    exec(identification, names)
    text = capsys.readouterr().out
    assert "false_accept_rate=0.0" in text and len(text.splitlines()) == 4


@pytest.mark.slow
def test_segmentation_models_and_losses(monkeypatch):
    """Three blocks, one after the other: a U-Net, a stage of FCN, weights of borders."""

    def small_unet(input_shape, **arguments):
        conv = functools.partial(keras.layers.Conv2D, padding="same", activation="relu")
        backbone = keras.Sequential([keras.Input(input_shape), conv(8, 5, 2), conv(16, 3, 2)])
        return unet(input_shape, backbone, **arguments)

    unet = kd.models.UNet
    monkeypatch.setattr(kd.models, "UNet", small_unet)
    keras.utils.set_random_seed(0)
    text = (ROOT / "docs/segmentation.md").read_text().split("## Models")[1]
    models = text.split("## On the device")[0]
    names: dict = {}
    for block in re.findall(r"^```python\n(.*?)^```", models, re.S | re.M):
        exec(block, names)
    assert names["metric"].scores().mean_iou > 0.7
    assert not np.any(names["middle"].get_layer("score_16").get_weights()[0])
    assert names["separator"].output_shape == (None, 48, 48, 1)


@pytest.mark.slow
def test_localization(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    desk, device = python_blocks("docs/localization.md")
    names: dict = {}
    exec(desk, names)
    history = names["trainer"].history.history
    assert history["localization_accuracy"][-1] > 0.3 > history["localization_accuracy"][0]
    assert "keypoints: largest, mean error" in capsys.readouterr().out
    Image.fromarray(names["scenes"].images[0]).save("scene.png")
    exec(device, {})
    assert "BoundingBox(origin_x=" in capsys.readouterr().out
    assert Image.open("located.png").size == (48, 48)


def test_segmentation_on_the_device(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/segmentation.md").read_text().split("## On the device")[1]
    desk, device = re.findall(r"^```python\n(.*?)^```", text, re.S | re.M)[:2]
    names = {}
    exec(desk, names)
    assert capsys.readouterr().out.rstrip().endswith("agrees")
    pixels, masks = names["pixels"][0], names["masks"][0]
    Image.fromarray(pixels).resize((96, 96), Image.Resampling.NEAREST).save("photo.jpg")
    exec(device, names)
    found = names["found"]
    large = masks.repeat(2, 0).repeat(2, 1)
    assert (found.category_mask == large).mean() > 0.9
    assert found.areas["red"] == pytest.approx((large == 1).mean(), abs=0.05)
    assert Image.open("overlay.png").size == (96, 96)


def test_detection_on_the_device(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    text = (ROOT / "docs/detection.md").read_text().split("## On the device")[1]
    desk, device = re.findall(r"^```python\n(.*?)^```", text, re.S | re.M)[:2]
    names: dict = {}
    exec(desk, names)
    assert capsys.readouterr().out.rstrip().endswith("agrees")
    photo = np.full((48, 48, 3), 30, "uint8")
    photo[20:36, 4:20] = (200, 30, 30)
    Image.fromarray(photo).resize((96, 96), Image.Resampling.NEAREST).save("photo.jpg")
    exec(device, names)
    (found,) = names["found"]
    assert found.categories[0].label == "red"
    assert np.abs(np.subtract(found.bounding_box, (8, 40, 32, 32))).max() <= 4
    assert Image.open("boxes.png").size == (96, 96)


def test_models(capsys):
    builders, costs, windows = python_blocks("docs/models.md")
    names: dict = {}
    exec(builders, names)
    exec(costs, names)
    assert "40.6 million multiply-adds" in capsys.readouterr().out
    assert names["model"].output_shape == (None, 2) and names["features"].output_shape == (
        None,
        576,
    )
    found = {"kd": kd}
    exec(windows, found)
    np.testing.assert_allclose(found["scores"][:, 2, 3], found["window"], rtol=1e-4)
    assert found["scores"].shape == (1, 5, 9, 10) and found["written"].matrix.shape == (4704, 1024)
    expected = keras.ops.convert_to_numpy(found["conv"](found["page"][:, :32, :32]))
    np.testing.assert_allclose(found["maps"], expected[0], atol=1e-5)
    listed = re.findall(r"^\| `(\w+)` \| `(\w+)` ", (ROOT / "docs/models.md").read_text(), re.M)
    assert sorted(name for name, _ in listed) == list(kd.models.names())
    assert all(hasattr(kd.models, builder) for _, builder in listed)


def test_checkpoints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = keras.Sequential(
        [keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3, "softmax")]
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    names = {"kd": kd, "model": model, "labels": np.arange(60) % 3}
    names["images"] = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 1)).astype("uint8")
    for block in python_blocks("docs/checkpoints.md"):
        exec(block, names)
    newest, best = names["newest"].get_weights(), names["best"].get_weights()
    assert newest[0].shape == best[0].shape == (16, 3)
    assert not Path("runs/one/backup").exists()
    assert 2 <= len(list(Path("runs/one").glob("*.keras"))) <= 3


def test_untrusted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,) = python_blocks("docs/untrusted.md")
    exec(code, {})
    text = (ROOT / "docs/untrusted.md").read_text()
    shown = re.findall(r"^    (.+)$", text.split("```")[2], re.M)
    assert capsys.readouterr().out.splitlines() == shown


@pytest.mark.release
def test_choosing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    choosing, tuner = python_blocks("docs/choosing.md")
    names: dict = {}
    exec(choosing.replace("[:600]", "[:300]"), names)
    text = capsys.readouterr().out
    assert text.count("chosen") == 1 and "fits (3 values x 3 folds)" in text
    assert Image.open("runs/widths/selection.png").size == (840, 600)
    if all(map(importlib.util.find_spec, ("keras_tuner", "tensorboard"))):
        exec(tuner.replace("[:600]", "[:300]"), names)
        assert 4 <= names["units"] <= 64


@pytest.mark.slow
def test_evaluation(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sure, judging = python_blocks("docs/evaluation.md")
    names: dict = {}
    exec(sure, names)
    before, _, after = (found.error for found in names["answers"].values())
    assert after < before
    assert Image.open("reliability.png").width > 500
    exec(judging, names)
    point, tested = names["point"], names["tested"]
    assert point.fpr <= 0.05 and point.recall > 0.3 and tested.threshold == point.threshold
    scores = names["calibrated"].predict(names["data"].test, verbose=0)
    listed = [{category.index for category in each} for each in names["answers"]]
    expected = [set(np.flatnonzero(row >= np.float32(names["thresholds"]))) for row in scores]
    assert np.mean([one == other for one, other in zip(listed, expected, strict=True)]) > 0.99
    shown = capsys.readouterr().out
    assert f"{sum(not each for each in listed)} of 2000 images show nothing known" in shown
    assert Image.open("roc.png").size == (750, 750)


@pytest.mark.slow
def test_data_and_augmentation(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    document = (ROOT / "docs/data.md").read_text()
    parts, _, whitened, augmented = python_blocks("docs/data.md")
    names: dict = {}
    exec(parts, names)
    text = capsys.readouterr().out
    (shown,) = re.findall(r"^    (None of the .* test images .*)$", document, re.M)
    assert shown in text
    assert "No statistic has moved between 1,600 training" in text
    assert len(names["clean"]) == 2000
    data = names["data"]
    alike = kd.data.find_leaks(data.train, data.test, likeness=0.99)
    assert len(alike.test_indices) == 22 and "`likeness=0.99` finds 22 of these" in document
    assert str(alike).count("(5061, 37), (9415, 37), (3147, 53), (8266, 115), (5279, 139)") == 1
    exec(whitened, names)
    assert names["model"].history.history["val_accuracy"][-1] > 0.6
    exec(augmented, names)
    text = capsys.readouterr().out
    assert "predictions stay after the transform" in text and "AUC 0." in text
    assert names["trainer"].history.history["val_accuracy"][-1] > 0.4
    sizes = [Path(f"{name}.tflite").stat().st_size for name in ("whitened", "augmented")]
    assert sizes[0] > 2_000_000 > 200_000 > sizes[1]


@pytest.mark.slow
def test_multi_label(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    desk, device = python_blocks("docs/multi-label.md")
    names: dict = {}
    exec(desk, names)
    history = names["model"].history.history
    assert history["val_mean_average_precision"][-1] > history["mean_average_precision"][0]
    assert "same labels" in capsys.readouterr().out
    Image.fromarray(names["images"][0]).save("scene.png")
    exec(device, {})
    assert "label=" in capsys.readouterr().out


@pytest.mark.release
def test_metric_learning(capsys):
    losses, samplers = python_blocks("docs/metric-learning.md")
    names: dict = {}
    exec(losses.replace("epochs=3", "epochs=1").replace("[:2000]", "[:600]"), names)
    assert "(2, 32)" in capsys.readouterr().out
    history = names["model"].history.history
    assert history["loss"][-1] < 0.2 and history["embedding_variance"][0] > 0.05
    exec(samplers.replace("[:2000]", "[:600]"), names)
    for trained in ("model", "pairs", "triplets"):
        assert np.isfinite(names[trained].history.history["loss"]).all()


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", *(
    str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md"))
)])  # fmt: skip
def test_links_and_pictures_are_there(document):
    text = (ROOT / document).read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("https://"):
            assert ((ROOT / document).parent / target).exists(), target


def test_commands_in_the_documents_are_understood():
    """Every `keras-dlcourse` line in the documents parses as far as its files."""
    from keras_dlcourse.cli.main import build_parser

    parser = build_parser()
    lines = []
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        lines += re.findall(r"^ {4}keras-dlcourse (.+)$", document.read_text(), re.M)
    assert len(lines) >= 8
    for line in lines:
        words = line.split("#")[0].split()
        parser.parse_args(words)


SOURCES = [
    *((f"{path.name} {number}", block)
      for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
      for number, block in enumerate(python_blocks(str(path)))),
    *((path.name, path.read_text()) for path in sorted((ROOT / "examples").glob("*.py"))),
]  # fmt: skip


@pytest.mark.parametrize("source", [text for _, text in SOURCES], ids=[name for name, _ in SOURCES])
def test_what_documents_and_examples_name_is_there(source):
    """Those that run before a release only keep up with the code, too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("keras_dlcourse"):
            for name in node.names:
                assert hasattr(importlib.import_module(node.module), name.name), name.name
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("kd."):
            chain = ast.unparse(node)
            if re.fullmatch(r"[\w.]+", chain):
                operator.attrgetter(chain.removeprefix("kd."))(kd)


def test_practice_foundations(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tasks, signals = python_blocks("docs/practice.md")[:2]
    names: dict = {}
    exec(tasks.replace("epochs=5", "epochs=1"), names)
    assert names["model"].history.history["val_accuracy"][-1] > 0.7
    exec(signals.replace("epochs=3", "epochs=1"), names)
    assert capsys.readouterr().out.splitlines()[-1] == "{}"
    assert Image.open("runs/signals/signals.png").size == (1500, 1080)


@pytest.mark.release
def test_practice_of_perceptron_templates_and_neighbours(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tasks, _, perceptron, templates, neighbours, by_hand = python_blocks("docs/practice.md")
    names: dict = {}
    for block in (tasks, perceptron, templates, neighbours):
        exec(block.replace("epochs=5", "epochs=2, verbose=0"), names)
    assert names["perceptron"].score(names["points"], names["sides"]) == 1
    assert Image.open("perceptron.png").size == (1440, 630)
    assert Image.open("templates.png").size == (1425, 660)
    shares = re.findall(
        r"^(pixels|features|large sets) .*?([\d.]+)$", capsys.readouterr().out, re.M
    )
    found, expected = names["votes"], names["neighbours"]  # the last of these has cosine
    expected = type(expected)(5).fit(names["vectors"]["features"][0], names["known"].y)
    expected = expected.predict(names["vectors"]["features"][1])
    assert np.mean(np.asarray(found) == expected) > 0.99
    assert len(shares) == 3 and min(float(share) for _, share in shares) > 0.75
    exec(re.sub(r"(data\.train\.[xy])", r"\1[:2000]", by_hand), names)
    pixels, levels, gradients = re.findall(
        r"nearest ([\d.]+)%, linear SVM ([\d.]+)%", capsys.readouterr().out
    )
    assert float(gradients[1]) > float(pixels[1]) > 75 > float(levels[1]) > 15


@pytest.mark.slow
def test_transfer_and_views(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    transfer, views = python_blocks("docs/transfer.md")
    names: dict = {}
    exec(transfer.replace("epochs=5", "epochs=2"), names)
    text = capsys.readouterr().out
    assert "head on features read from disk: 20 epochs" in text
    assert "the last 2 layers" in text and len(list(Path("runs/features").glob("*.npy"))) == 2
    exec(views, names)
    assert "images rerun" in capsys.readouterr().out
    with kd.edge.ImageClassifier("views.tflite") as classifier:
        scores = classifier.scores(names["digits"].test.x)
    assert np.mean(scores.argmax(1) == names["digits"].test.y) > 0.6


# What an example shows besides this package. Those that are large are not installed in CI.
TRACKERS = {
    "search_with_optuna": "optuna",
    "track_with_mlflow": "mlflow",
    "track_with_wandb": "wandb",
}


class TestExamples:
    """Each example is run as a user runs it."""

    def test_every_example_has_a_test(self):
        names = {path.stem for path in (ROOT / "examples").glob("*.py")}
        tested = set(re.findall(r'"(\w+)\.py"', Path(__file__).read_text()))
        assert names == tested

    @pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
    def test_its_arguments_are_understood(self, path, monkeypatch, capsys):
        """As far as `--help`: all that it imports is there."""
        if path.stem == "mediapipe_tasks":
            pytest.skip("needs system libraries; it is run as a whole where they are")
        if path.stem in TRACKERS:
            pytest.importorskip(TRACKERS[path.stem])
        monkeypatch.setenv("KERAS_BACKEND", keras.backend.backend())
        monkeypatch.setattr(sys, "argv", [path.name, "--help"])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(path), run_name="__main__")
        assert end.value.code == 0 and f"usage: {path.name}" in capsys.readouterr().out

    @pytest.fixture(scope="class")
    @classmethod
    def output(cls, tmp_path_factory):
        """What the first example leaves behind, for the others."""
        folder = tmp_path_factory.mktemp("example")
        run = runpy.run_path(str(ROOT / "examples" / "train_and_export.py"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kd.models, "MobileNetV2", small_network)
            run["main"](epochs=1, output=folder)
        data = kd.data.load("fashion_mnist_small").test
        Image.fromarray(np.repeat(data.x[0], 3, axis=-1)).save(folder / "image.png")
        return folder

    @pytest.mark.slow
    def test_train_and_export(self, output, capsys):
        assert {p.name for p in output.glob("*.tflite")} == {
            "model.float32.tflite",
            "model.int8.tflite",
        }
        assert list((output / "maps").glob("*.png"))

    @pytest.mark.slow
    def test_classify_on_device(self, output):
        lines = self.run(
            "classify_on_device.py", output / "model.int8.tflite", output / "image.png"
        )
        assert "image.png" in lines[0]
        assert "ms median" in lines[1]

    @pytest.mark.slow
    def test_mediapipe_tasks(self, output):
        done = self.call("mediapipe_tasks.py", output / "model.int8.tflite", output / "image.png")
        if "libGL" in done.stderr or "libEGL" in done.stderr:
            pytest.skip("MediaPipe needs libgles2, libegl1 and libgl1")
        assert done.returncode == 0, done.stderr
        ours = kd.edge.ImageClassifier(output / "model.int8.tflite")
        best = ours.classify(output / "image.png", max_results=1)[0]
        assert done.stdout.startswith(f"{best.label}: {best.score:.2f}"[:-1])

    @pytest.mark.release
    def test_how_sure(self, tmp_path):
        """A network that is too sure, less so with each remedy."""
        run = runpy.run_path(str(ROOT / "examples" / "how_sure.py"))
        found = list(run["main"](500, 25, 2, tmp_path).values())
        alone, dropped, joined, cooled = (float(row[1].rstrip("%")) for row in found)
        assert alone > 5 and max(dropped, joined) < alone and cooled < alone / 2
        assert found[0][0] == found[3][0]  # the order of classes stays
        with Image.open(tmp_path / "reliability.png") as picture:
            assert picture.size == (840, 990)

    @pytest.mark.release
    def test_operating_point(self, tmp_path):
        """What was promised on validation images about holds on others, and on the device."""
        run = runpy.run_path(str(ROOT / "examples" / "operating_point.py"))
        validation, test, device = run["main"](3, 0.05, tmp_path).values()
        assert validation.fpr <= 0.05 and test.fpr < 0.1 and test.recall > 0.35
        assert device.fpr == pytest.approx(test.fpr, abs=0.03)
        assert device.recall == pytest.approx(test.recall, abs=0.1)
        sizes = [Image.open(tmp_path / f"{name}.png").size for name in ("roc", "evaluation")]
        assert sizes == [(500, 500), (1400, 470)]

    @pytest.mark.release
    def test_few_photos(self, tmp_path):
        """More photos help, the file knows them, and the curve is drawn."""
        text = "\n".join(self.run("few_photos.py", "--quick", "--output", tmp_path))
        assert len(list((tmp_path / "photos").rglob("*.png"))) == 80
        share = float(re.search(r"few_photos.tflite: ([\d.]+)% right", text).group(1))
        given, right = re.search(r"([\d.]+)% of later photos .* ([\d.]+)% of these", text).groups()
        assert 10 < float(given) < 100 and float(right) > share
        assert share > 40  # of four, chance is 25
        for way in ("scratch", "frozen", "fine-tuned"):
            row = re.search(rf"^ {way} +([\d.]+)% +([\d.]+)%$", text, re.M)
            assert float(row.group(1)) > 25 and float(row.group(2)) > 40
        with Image.open(tmp_path / "scarcity.png") as picture:
            assert picture.size == (960, 660)

    @pytest.mark.release
    def test_perceive(self, tmp_path):
        """The reconstructions hold what the answers come from, and the picture is drawn."""
        run = runpy.run_path(str(ROOT / "examples" / "perceive.py"))
        assert run["main"](tmp_path / "perception.png", epochs=1) > 0.5
        with Image.open(tmp_path / "perception.png") as picture:
            assert picture.width > 600

    @pytest.mark.release
    def test_train_on_jax(self, tmp_path):
        """Trained on JAX, loaded on TensorFlow, exported, the same numbers."""
        pytest.importorskip("jax")
        model = tmp_path / "model.keras"
        lines = self.run("train_on_jax.py", "--epochs", "1", "--images", "4000", "--output", model)
        assert "on jax" in lines[-1]
        command = [sys.executable, "-m", "keras_dlcourse.cli", "export", model]
        subprocess.run([*command, "-o", tmp_path / "model.tflite"], check=True)
        data = kd.data.load("fashion_mnist_small").test
        file = kd.edge.ImageClassifier(tmp_path / "model.tflite")
        assert file.labels == data.class_names
        accuracy = np.mean(file.scores(data.x[:500]).argmax(1) == data.y[:500])
        measured = float(re.search(r"keras: (0\.\d+) on", lines[-1]).group(1))
        assert accuracy == pytest.approx(measured, abs=0.05)
        assert accuracy > 0.3  # one epoch, but trained

    @pytest.mark.release
    def test_quantize_mobilenet(self, tmp_path):
        """An untouched network of Keras's, named alike by each runtime that is here."""
        pytest.importorskip("tflite_micro")
        words = ["--images", "3000", "--epochs", "2", "--output", tmp_path]
        lines = self.run("quantize_mobilenet.py", *words)
        same = [float(share) for share in re.findall(r"([\d.]+)% the same", "\n".join(lines))]
        assert same[0] == 100 and min(same) > 88  # little trained, so at times undecided
        assert kd.export.inspect(tmp_path / "model.int8.tflite").float_islands == ()

    @pytest.mark.release
    def test_tfmot_to_device(self, tmp_path):
        """Trained with tensorflow-model-optimization on Keras 2, in an environment of its own."""
        python = os.environ.get("KD_TFMOT_PYTHON")
        if not python:
            pytest.skip("KD_TFMOT_PYTHON names no interpreter with tensorflow-model-optimization")
        words = ["--python", python, "--output", tmp_path, "--epochs", "2"]
        lines = self.run("tfmot_to_device.py", *words)
        file = kd.edge.ImageClassifier(tmp_path / "model.int8.tflite")
        data = kd.data.load("fashion_mnist_small").test
        assert file.labels == data.class_names
        same = next(line for line in lines if "same top class" in line)
        assert float(re.search(r"([\d.]+)%", same).group(1)) > 97
        pixels = np.repeat(data.x[:500], 3, axis=-1)
        assert np.mean(file.scores(pixels).argmax(1) == data.y[:500]) > 0.3  # trained
        assert kd.export.inspect(tmp_path / "model.int8.tflite").float_islands == ()

    @pytest.mark.release
    def test_find_a_shortcut(self, tmp_path):
        """The map finds the mark, the accuracy confirms it; after augmentation both are mended."""
        text = "\n".join(self.run("find_a_shortcut.py", "--output", tmp_path))
        shares = [int(share) for share in re.findall(r"(\d+)% of the evidence", text)]
        coats = re.findall(r"coats found: (\d+)% with the mark, (\d+)% without", text)
        others = re.findall(r"called coats: (\d+)% with it, (\d+)% without", text)
        (taken, missed), (kept, found) = [map(int, pair) for pair in coats]
        (fooled, _), (mended, plain) = [map(int, pair) for pair in others]
        assert shares[0] > 2 * shares[1] and shares[0] > 30
        assert taken - missed > 70 and abs(kept - found) < 20 and found > 25
        assert fooled > 20 and abs(mended - plain) < 8
        pictures = [Image.open(path).size for path in sorted(tmp_path.glob("*.png"))]
        assert len(pictures) == 2 and min(pictures[0]) > 500

    @pytest.mark.release
    def test_enroll_new_classes(self, tmp_path):
        """Three classes that training has not seen, told apart after five photos of each."""
        text = "\n".join(self.run("enroll_new_classes.py", "--epochs", "3", "--output", tmp_path))
        shares = re.findall(r"(nearest|mean): ([\d.]+)% of (\d+) photos right", text)
        assert [(match, count) for match, _, count in shares] == [
            ("nearest", "285"),
            ("mean", "285"),
        ]
        assert min(float(share) for _, share, _ in shares) > 80  # of three, chance is 33
        assert float(re.search(r"smallest cosine\D+([\d.]+)", text).group(1)) > 0.9
        assert (tmp_path / "gallery.kdg").is_file()

    @pytest.mark.release
    def test_locate_objects(self, tmp_path):
        """Five kinds of clothes on a photograph that training has not seen."""
        text = "\n".join(self.run("locate_objects.py", "--epochs", "6", "--output", tmp_path))
        share, count = re.search(r"class and box right in ([\d.]+)% of (\d+)", text).groups()
        assert float(share) > 40 and count == "200"  # of classes alone, chance is 20
        assert Image.open(tmp_path / "located.png").size == (1040, 520)

    @pytest.mark.release
    def test_segment_clothes(self, tmp_path):
        """Masks of garments, drawn by a process without Keras."""
        text = "\n".join(self.run("segment_clothes.py", "--epochs", "4", "--output", tmp_path))
        keras, int8 = map(float, re.search(r"mean IoU +([\d.]+)% +([\d.]+)%", text).groups())
        assert keras > 12 and abs(keras - int8) < 2  # background everywhere: 8
        assert len(re.findall(r"^photo \d: .*[\d.]+% of it right$", text, re.M)) == 8
        assert Image.open(tmp_path / "segmented.png").size == (8 * 196, 3 * 196)

    @pytest.mark.release
    def test_universal_approximation(self, tmp_path):
        """One hidden layer gets nearer to a function, everywhere, as it gets wider."""
        lines = self.run("universal_approximation.py", "--epochs", "60", "--output", tmp_path)
        rows = [re.match(r" *(\d+) units: largest error ([\d.]+)", line) for line in lines[:-1]]
        error = {int(row.group(1)): float(row.group(2)) for row in rows}
        assert list(error) == [1, 2, 4, 8, 16]
        assert error[1] > 0.8 and error[16] < 0.1 and error[8] < error[4] < error[1]
        assert Image.open(tmp_path / "error_by_width.png").size == (1440, 600)

    @pytest.mark.release
    def test_vanishing_signal(self, tmp_path):
        """Nothing comes through thirty layers of N(0, 0.01) and sigmoid, all through He's."""
        text = "\n".join(self.run("vanishing_signal.py", "--output", tmp_path))
        shape = r"^(.+): activations 1e(\S+), gradients 1e(\S+), accuracy (\S+)$"
        found = {name: list(map(float, row)) for name, *row in re.findall(shape, text, re.M)}
        sigmoid, plain = found["sigmoid, N(0, 0.01)"], found["ReLU, N(0, 0.01)"]
        glorot, he = found["tanh, Glorot"], found["ReLU, He"]
        assert sigmoid[0] < -10 and sigmoid[1] < -20 and sigmoid[2] < 0.2
        assert -12 < plain[1] < -6  # 30 layers of 64 * 0.01 / 2
        for forwards, backwards, accuracy in (glorot, he):
            assert -4 <= forwards <= 1 and -2 <= backwards <= 2 and accuracy > 0.35
        assert text.count("The gradient vanishes before training") == 2
        assert len(list(tmp_path.glob("*/signals.png"))) == 4

    @pytest.mark.release
    def test_compare_optimizers(self, tmp_path):
        """As many steps an epoch as there are batches, less noise in larger ones."""
        words = ("--images", "320", "--epochs", "4", "--output", tmp_path)
        text = "\n".join(self.run("compare_optimizers.py", *words))
        row = r"^([\w-]+) *: +(\d+) steps an epoch, rate (\S+), loss (\S+); effective rate: (.+)$"
        rows = {name: values for name, *values in re.findall(row, text, re.M)}
        steps = {name: int(values[0]) for name, values in rows.items()}
        assert steps == dict.fromkeys(rows, 10) | {"batch": 1, "stochastic": 320}
        assert len(rows) == 7
        losses = {name: float(values[2]) for name, values in rows.items()}
        assert max(losses, key=losses.get) == "batch" and losses["stochastic"] < 1
        for name in ("batch", "stochastic", "mini-batch"):
            layers = re.findall(r" ([\d.e-]+)(?:,|$)", rows[name][3])
            assert layers == [rows[name][1]] * 3  # plain descent has one rate for all
        assert len(set(re.findall(r" ([\d.e-]+)(?:,|$)", rows["RMSprop"][3]))) > 1
        shares = re.findall(r"gradient of +(\d+) images: variance (\S+)", text)
        noise = {int(size): float(share) for size, share in shares}
        # Drawn without replacement from 320: sigma^2 / 32 * (320 - 32) / 319.
        assert noise[32] / noise[1] == pytest.approx(288 / 319 / 32, rel=0.3)
        assert noise[320] < 1e-9
        assert Image.open(tmp_path / "optimizers.png").size == (1575, 660)

    @pytest.mark.release
    def test_compare_activations(self):
        """Sigmoid is slowest, ReLU is sparse, and batch normalization bears a high rate."""
        text = "\n".join(self.run("compare_activations.py", "--epochs", "4"))
        row = r"^(\S.*?) *: loss 0.5 (?:after (\d+) steps at rate \S+|not .+), (\d+)% of units"
        rows = {name: (steps, int(zeros)) for name, steps, zeros in re.findall(row, text, re.M)}
        assert list(rows) == ["sigmoid", "tanh", "ReLU", "leaky ReLU", "ELU"]
        assert not rows["sigmoid"][0] and 0 < int(rows["ReLU"][0]) <= 252
        assert 30 < rows["ReLU"][1] < 90 and rows["leaky ReLU"][1] == rows["tanh"][1] == 0
        row = r"ten layers, (.+), rate (\S+): accuracy (\S+), with batch normalization (\S+)"
        found = {(start, rate): (a, b) for start, rate, a, b in re.findall(row, text)}
        assert len(found) == 4
        for (_, rate), (without, with_) in found.items():
            assert float(with_) > (0.5 if rate == "1" else 0.7)
            assert rate != "1" or float(without) < 0.2

    @pytest.mark.slow
    def test_search_with_optuna(self, tmp_path):
        """In memory: two trials, each a run, and the better one is named."""
        optuna = pytest.importorskip("optuna")
        prune = runpy.run_path(str(ROOT / "examples" / "search_with_optuna.py"))["Prune"]
        bad = SimpleNamespace(report=lambda value, step: None, should_prune=lambda: True)
        with pytest.raises(optuna.TrialPruned):
            prune(bad).on_epoch_end(0, {"val_accuracy": 0.1})
        words = ("--trials", "2", "--epochs", "1", "--images", "200", "--output", tmp_path)
        found = re.search(
            r"^best: (.+), ([\d.]+)% on the validation images, ([\d.]+)% on the test images",
            self.run("search_with_optuna.py", *words)[-1],
        )
        results = [
            json.loads((tmp_path / f"trial-{number}" / "results.json").read_text())
            for number in range(2)
        ]
        best = max(results, key=lambda one: one["validation_accuracy"])
        assert float(found[2]) == pytest.approx(100 * best["validation_accuracy"], abs=0.06)
        assert (Path(found[1]) / "report.html").is_file()

    @pytest.mark.slow
    def test_track_with_mlflow(self, tmp_path, monkeypatch):
        mlflow = pytest.importorskip("mlflow")
        store = f"sqlite:///{tmp_path / 'mlflow.db'}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
        monkeypatch.chdir(tmp_path)
        last = self.run("track_with_mlflow.py", "--epochs", "2", "--images", "200")[-1]
        client = mlflow.MlflowClient(store)
        tracked = client.get_run(last.split(":")[0])
        results = json.loads((tmp_path / "runs/mlflow/results.json").read_text())
        assert tracked.data.params["model"] == "lenet5"
        assert tracked.data.metrics["test_accuracy"] == results["test"]["accuracy"]
        assert tracked.data.tags["verdict"] == results["verdict"]["level"]
        steps = client.get_metric_history(tracked.info.run_id, "val_accuracy")
        assert [one.step for one in steps] == [1, 2]
        files = {one.path for one in client.list_artifacts(tracked.info.run_id)}
        assert {"report.html", "model.int8.tflite"} <= files

    @pytest.mark.slow
    def test_track_with_wandb(self, tmp_path, monkeypatch):
        pytest.importorskip("wandb")
        monkeypatch.setenv("WANDB_MODE", "offline")
        monkeypatch.chdir(tmp_path)
        last = self.run("track_with_wandb.py", "--epochs", "1", "--images", "200")[-1]
        results = json.loads((tmp_path / "runs/wandb/results.json").read_text())
        assert f"{results['test']['accuracy']:.1%} on the test images" in last
        (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
        assert b"val_accuracy" in file.read_bytes()

    @pytest.mark.release
    def test_train_through_kills(self, tmp_path):
        """Killed by a shell loop until it is through, and equal to one that was not."""
        script = (ROOT / "examples" / "train_through_kills.py").with_suffix(".sh")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        words = ["--epochs", "25", "--images", "1500", "--save-freq", "20"]
        done = subprocess.run(
            ["bash", script, tmp_path, *words],
            capture_output=True, text=True, timeout=3600, env=os.environ | {"PATH": path},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert int(re.search(r"killed (\d+) times", done.stdout).group(1)) > 0
        assert "largest difference of a weight: 0;" in done.stdout
        assert Image.open(tmp_path / "curves.png").size == (720, 420)

    def run(self, name, *arguments):
        done = self.call(name, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def call(self, name, *arguments):
        command = [sys.executable, ROOT / "examples" / name, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=3600)


@pytest.mark.slow
def test_segmentation_data(monkeypatch):
    """With fewer scenes, which are composed when they are loaded."""
    scenes = kd.data.fashion_scenes
    monkeypatch.setattr(
        "keras_dlcourse.data.datasets.fashion_scenes", lambda part, count: scenes(part, 40)
    )
    names: dict = {}
    for block in python_blocks("docs/segmentation.md")[:2]:
        exec(block, names)
    assert names["classes"].shape == (96, 96) and names["shares"].sum() == pytest.approx(1)
    whole = names["network"].predict(names["data"].test.prepare(names["image"])[None], verbose=0)
    # Pixels differ only next to the edges of tiles, where padding is seen instead of the image.
    assert np.mean(whole[0].argmax(-1) == names["classes"]) > 0.9
