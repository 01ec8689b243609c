"""Images with any number of labels: trained, thresholds chosen, run as integers on the device."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.datasets import load_sample_image
from sklearn.metrics import f1_score

import keras_dlcourse as kd
from keras_dlcourse.edge import ImageClassifier, InvalidModel, ObjectLocalizer
from keras_dlcourse.edge.__main__ import main
from keras_dlcourse.edge.tflite.metadata import OWN
from keras_dlcourse.export.writing.metadata import _add_entries

ROOT = Path(__file__).parents[2]
KINDS = ("Trouser", "Bag", "Ankle boot")
SIDE = 32


def _scenes(part, count, seed, photo):
    """Two pieces of clothing on a photograph, and which kinds are there."""
    data = kd.data.load("fashion_mnist_small")
    rows = getattr(data, part)
    numbers = [data.class_names.index(kind) for kind in KINDS]
    kept = np.flatnonzero(np.isin(rows.y, numbers))[:90]
    pieces = np.asarray(rows.x[kept, ..., 0])
    alpha = np.where(pieces > 16, 255, 0).astype("uint8")
    composed = kd.data.compose_scenes(
        np.stack([pieces, pieces // 2, pieces, alpha], axis=-1),
        [numbers.index(label) for label in rows.y[kept]],
        [load_sample_image(photo) // 3],
        count,
        (SIDE, SIDE),
        objects=2,
        scale=(0.5, 0.7),
        seed=seed,
    )
    labels = np.zeros((count, len(KINDS)), "int32")
    labels[np.arange(count)[:, None], composed.labels] = 1
    return composed.images, labels


@pytest.fixture(scope="module")
def data():
    images, labels = _scenes("train", 1200, 0, "china.jpg")
    normalization = kd.data.Normalization.fit(images)
    parts = {
        "train": (images, labels),
        "validation": _scenes("validation", 200, 1, "china.jpg"),
        "test": _scenes("test", 200, 2, "flower.jpg"),
    }
    return {
        name: kd.data.pipeline(*part, normalization=normalization, class_names=KINDS)
        for name, part in parts.items()
    }


@pytest.fixture(scope="module")
def model(data):
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((SIDE, SIDE, 3))
    for filters in (16, 32, 48):
        x = keras.layers.Conv2D(filters, 3, 2, "same", use_bias=False)(x)
        x = keras.layers.ReLU(6.0)(keras.layers.BatchNormalization(momentum=0.8)(x))
    x = keras.layers.GlobalMaxPooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(len(KINDS), "sigmoid")(x))
    loss = kd.losses.WeightedBinaryCrossentropy(kd.data.positive_weights(data["train"].y))
    model.compile(keras.optimizers.Adam(5e-3), loss)
    model.fit(data["train"], epochs=5, verbose=0)
    return model


@pytest.fixture(scope="module")
def thresholds(model, data):
    return kd.training.choose_thresholds(model, data["validation"])


@pytest.fixture(scope="module")
def paths(model, data, thresholds, tmp_path_factory):
    folder = tmp_path_factory.mktemp("multilabel")
    return {
        name: kd.export.to_tflite(
            model,
            folder / f"{name}.tflite",
            quantization=name,
            calibration=data["train"],
            score_thresholds=thresholds,
        ).path
        for name in ("float32", "int8")
    }


@pytest.mark.parametrize("name", ["float32", "int8"])
def test_the_device_lists_what_is_there(paths, data, thresholds, name):
    """On other pieces and another photograph it is right more often than a constant answer."""
    classifier = ImageClassifier(paths[name])
    assert classifier.score_thresholds == pytest.approx(tuple(thresholds))
    scores = classifier.scores(data["test"].x)
    found = np.zeros_like(data["test"].y)
    listed = classifier.classify_batch(data["test"].x)
    for row, categories in zip(found, listed, strict=True):
        row[[category.index for category in categories]] = 1
        values = [category.score for category in categories]
        assert values == sorted(values, reverse=True)
    np.testing.assert_array_equal(found, scores >= np.float32(thresholds))
    right = f1_score(data["test"].y, found, average="macro")
    constant = f1_score(data["test"].y, np.ones_like(found), average="macro")
    assert right > constant + 0.05
    assert len({len(categories) for categories in listed}) > 1


def test_a_threshold_of_the_caller_comes_first(paths, data):
    classifier = ImageClassifier(paths["int8"])
    image = data["test"].x[0]
    assert len(classifier.classify(image, score_threshold=0.0)) == len(KINDS)
    assert classifier.classify(image, score_threshold=1.01) == []
    assert len(classifier.classify(image, max_results=1)) <= 1


def test_verification_counts_labels(paths, model, data, thresholds):
    result = kd.export.verify(model, paths["int8"], data["test"])
    scores = model.predict(data["test"], verbose=0) >= np.float32(thresholds)
    assert result.is_multilabel and result.agreement > 0.95
    assert result.keras_accuracy == pytest.approx((scores == data["test"].y).mean())
    assert "same labels" in str(result)
    # A file without thresholds is judged at a half, if the labels say that there are several.
    plain = kd.export.to_tflite(
        model, paths["int8"].parent / "plain.tflite", calibration=data["train"]
    )
    result = kd.export.verify(model, plain, data["test"])
    halves = model.predict(data["test"], verbose=0) >= 0.5
    assert result.keras_accuracy == pytest.approx((halves == data["test"].y).mean())
    unknown = (data["test"].prepare(data["test"].x), np.full((200, 3), -1))
    assert kd.export.verify(model, plain, unknown).accuracy is None


def test_inspect_shows_them(paths, thresholds):
    result = kd.export.inspect(paths["int8"])
    assert result.score_thresholds == pytest.approx(tuple(thresholds))
    assert "score thresholds: 3, from 0." in str(result)


def test_the_command_lists_them(paths, data, tmp_path, capsys):
    from PIL import Image

    path = tmp_path / "scene.png"
    Image.fromarray(data["test"].x[0]).save(path)
    assert main(["classify", str(paths["int8"]), str(path), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["results"]
    expected = ImageClassifier(paths["int8"]).classify(data["test"].x[0])
    assert [c["label"] for c in row["categories"]] == [c.label for c in expected]


def _certain(classes):
    """Return a model of grey levels, most of whose scores are near 0 or 1, and what is true."""
    inputs = keras.Input((1, classes, 1))
    dense = keras.layers.Dense(classes, activation="sigmoid")
    model = keras.Model(inputs, dense(keras.layers.Flatten()(inputs)))
    dense.set_weights([12 * np.eye(classes), np.zeros(classes)])
    pixels = np.random.default_rng(0).integers(0, 256, (300, 1, classes, 1)).astype("uint8")
    y = (pixels[:, 0, :, 0] > np.linspace(150, 5, classes)).astype("int32")
    normalization = kd.data.Normalization((0.0,), (255.0,))
    names = [f"class {number}" for number in range(classes)]
    return model, kd.data.pipeline(pixels, y, normalization=normalization, class_names=names)


@pytest.mark.parametrize(
    "options",
    [
        {"quantization": "float32"},
        {"quantization": "int8"},
        {"quantization": "int8", "output_dtype": "int8"},
        {"quantization": "int8", "output_dtype": "float32"},
        {"quantization": "int16x8"},
    ],
    ids=str,
)
def test_integers_that_end_below_a_threshold(tmp_path, options):
    """A sigmoid in eight bits gives 255/256 at most: no class may be out of reach for that."""
    model, data = _certain(3)
    chosen = kd.training.choose_thresholds(model, data)
    assert chosen[0] > 255 / 256 > chosen[1]
    eight_bits = options["quantization"] == "int8"
    said = pytest.warns(UserWarning, match=r"classes \[0\] are lowered to 0.9961")
    with said if eight_bits else contextlib.nullcontext():
        path = kd.export.to_tflite(
            model,
            tmp_path / "a.tflite",
            calibration=data,
            score_thresholds=chosen,
            **options,
            rgb=False,
        ).path
    classifier = ImageClassifier(path)
    least = np.float32(classifier.score_thresholds)
    np.testing.assert_array_equal(least, np.minimum(chosen, 255 / 256) if eight_bits else chosen)
    found = classifier.scores(data.x) >= least
    np.testing.assert_array_equal(found[:, 1:], data.y[:, 1:])
    assert found[data.y == 1].all()
    # What more is listed rounds to the highest score.
    more = found & (data.y == 0)
    scores = model.predict(data, verbose=0)
    assert more.any() == eight_bits and (scores[more] > 254 / 256).all()


def test_the_command_lists_all_that_is_there(tmp_path, capsys):
    """Five are the likeliest of a file without thresholds; of one with them none is left out."""
    from PIL import Image

    model, data = _certain(7)
    Image.fromarray(np.full((1, 7), 255, "uint8")).save(tmp_path / "white.png")
    for thresholds, expected in (([0.5] * 7, 7), (None, 5)):
        path = tmp_path / "a.tflite"
        kd.export.to_tflite(model, path, calibration=data, score_thresholds=thresholds)
        for more, count in ([], expected), (["--max-results", "2"], 2):
            assert main(["classify", str(path), str(tmp_path / "white.png"), "--json", *more]) == 0
            (row,) = json.loads(capsys.readouterr().out)["results"]
            assert len(row["categories"]) == count


def test_thresholds_of_classes_of_which_one_is_there(tmp_path):
    """Class numbers stay class numbers for verify, whatever the file lists."""
    model, data = _certain(3)
    numbers = kd.data.pipeline(data.x, np.arange(300) % 3, normalization=data.normalization)
    results = []
    for thresholds in (None, [0.9] * 3):
        path = tmp_path / "a.tflite"
        kd.export.to_tflite(model, path, calibration=data, score_thresholds=thresholds)
        results.append(kd.export.verify(model, path, numbers))
    plain, limited = results
    assert not limited.is_multilabel
    assert (limited.agreement, limited.accuracy) == (plain.agreement, plain.accuracy)
    without = kd.data.pipeline(data.x, normalization=data.normalization)
    assert kd.export.verify(model, path, without).is_multilabel


def test_a_localizer_lists_by_them(tmp_path, data):
    inputs = keras.Input((SIDE, SIDE, 3))
    maps = keras.layers.Conv2D(8, 3, 4, "same", activation="relu")(inputs)
    model = kd.models.localizer(keras.Model(inputs, maps), len(KINDS))
    path = tmp_path / "a.tflite"
    kd.export.to_tflite(model, path, calibration=data["train"], score_thresholds=[0, 1, 0])
    localizer = ObjectLocalizer(path)
    found = localizer.locate(data["test"].x[0])
    assert sorted(category.index for category in found.categories) == [0, 2]
    assert found.bounding_box == localizer.locate(data["test"].x[0], score_threshold=0).bounding_box


@pytest.mark.skipif("KD_RUNTIME_PYTHON" not in os.environ, reason="no such environment here")
def test_on_an_old_board(paths, data, tmp_path):
    code = (
        "import sys, json, numpy as np\n"
        "from keras_dlcourse.edge import ImageClassifier\n"
        "images = np.load(sys.argv[2])\n"
        "found = ImageClassifier(sys.argv[1]).classify_batch(images)\n"
        "print(json.dumps([[c.label for c in each] for each in found]))\n"
    )
    np.save(tmp_path / "images.npy", data["test"].x[:20])
    done = subprocess.run(
        [os.environ["KD_RUNTIME_PYTHON"], "-c", code, paths["int8"], tmp_path / "images.npy"],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    ours = ImageClassifier(paths["int8"]).classify_batch(data["test"].x[:20])
    theirs = json.loads(done.stdout)
    same = [[c.label for c in each] == other for each, other in zip(ours, theirs, strict=True)]
    assert np.mean(same) >= 0.9  # the runtimes round differently


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ([0.5, 0.5], ValueError, "must be 3 numbers from 0 to 1"),
        ([0.5, 0.5, 1.5], ValueError, "must be 3 numbers from 0 to 1"),
        ([0.5, float("nan"), 0.5], ValueError, "must be 3 numbers from 0 to 1"),
        (["low", "low", "high"], TypeError, "must be 3 numbers from 0 to 1.*'high'"),
        ("0.5", TypeError, "must be 3 numbers from 0 to 1.*'0.5'"),
        ([0.5, [0.5], 0.5], ValueError, "must be 3 numbers from 0 to 1"),
    ],
)
def test_thresholds_that_make_no_sense(model, tmp_path, given, error, message):
    with pytest.raises(error, match=message):
        kd.export.to_tflite(
            model,
            tmp_path / "a.tflite",
            score_thresholds=given,
            preprocessing=kd.data.Normalization.identity(),
        )
    assert not (tmp_path / "a.tflite").exists()


def test_thresholds_of_a_model_without_scores(tmp_path):
    inputs = keras.Input((4, 4, 3))
    flat = keras.layers.Dense(4)(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, kd.layers.L2Normalization()(flat))
    with pytest.raises(ValueError, match="apply to class scores; this model has none"):
        kd.export.to_tflite(
            model,
            tmp_path / "a.tflite",
            score_thresholds=[0.5] * 4,
            preprocessing=kd.data.Normalization.identity(),
        )


NO_SHARES = (
    "high",
    "123",
    5,
    {"0": 0.5, "1": 0.5, "2": 0.5},
    [0.5, 0.5, None],
    [0.5, 0.5, True],
    [0.5, 0.5, 1.5],
    [0.5, 0.5, float("nan")],
    [0.5, 0.5, 10**400],
)


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        *((value, InvalidModel, "score thresholds that are not numbers") for value in NO_SHARES),
        ([0.5, 0.5], ValueError, "2 score thresholds, but 3 outputs"),
    ],
)
def test_damaged_thresholds_are_said(paths, value, kind, message):
    content = paths["float32"].read_bytes()
    record = json.loads(kd.edge.ModelFile.read(content).metadata.extra[OWN])
    record["score_thresholds"] = value
    with pytest.raises(kind, match=message):
        ImageClassifier(_with_record(content, json.dumps(record).encode()))


@pytest.mark.parametrize("record", [b"[1]", b"\xff\xfe", b"{", b"[" * 100_000])
def test_damaged_records_are_said(paths, record):
    with pytest.raises(InvalidModel, match="a record that cannot be read"):
        ImageClassifier(_with_record(paths["float32"].read_bytes(), record))


def _with_record(content, record):
    """Return a file whose own record is another."""
    damaged = io.BytesIO(_add_entries(content, {OWN: record}))
    with zipfile.ZipFile(damaged, "a") as archive:
        archive.writestr("labels.txt", "\n".join(KINDS))
    return damaged.getvalue()
