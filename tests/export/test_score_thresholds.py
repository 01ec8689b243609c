"""A chosen operating point goes with the file: one sigmoid, and a softmax that may not know."""

from __future__ import annotations

import json
import warnings

import keras
import numpy as np
import pytest
from small_models import CLASSES, images, small_classifier

import keras_dlcourse as kd
from keras_dlcourse.edge import ImageClassifier, ModelFile
from keras_dlcourse.edge.__main__ import main
from keras_dlcourse.export.conversion.schemes import find_scheme
from keras_dlcourse.export.outputs.find import assign_thresholds
from keras_dlcourse.export.writing.output import Output

NORMALIZATION = kd.data.Normalization(110.0, 70.0)
EACH = [0.55, 0.3, 0.45, 0.65]
PIXELS = images(seed=5)


@pytest.fixture(scope="module")
def binary():
    """One sigmoid, what is true of some images, and the operating point of its choice."""
    inputs = keras.Input((16, 16, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(pooled))
    model.layers[-1].set_weights([np.array([[2.0], [-1.0], [0.5]]), np.array([-0.3])])
    scores = model.predict(NORMALIZATION(PIXELS), verbose=0)[:, 0]
    y = (scores + np.random.default_rng(0).normal(0, 0.15, len(scores)) > 0.6).astype(int)
    data = kd.data.pipeline(PIXELS, y, normalization=NORMALIZATION)
    return model, data, kd.training.threshold_for(y, scores, fpr=0.1)


@pytest.fixture(scope="module")
def binary_files(binary, tmp_path_factory):
    model, data, point = binary
    folder = tmp_path_factory.mktemp("binary")
    return {
        name: kd.export.to_tflite(
            model, folder / f"{name}.tflite", quantization=name, calibration=data,
            labels=["defect"], score_thresholds=point.threshold,
        ).path
        for name in ("float32", "int8")
    }  # fmt: skip


@pytest.fixture(scope="module")
def softmax_files(tmp_path_factory):
    """A file with one threshold for all classes, and one that has one for each."""
    folder, model = tmp_path_factory.mktemp("softmax"), small_classifier()
    return model, {
        name: kd.export.to_tflite(
            model, folder / f"{name}.tflite", quantization=quantization, labels=CLASSES,
            calibration=kd.data.pipeline(images(), normalization=NORMALIZATION),
            score_thresholds=thresholds,
        ).path
        for name, quantization, thresholds in (
            ("one", "float32", 0.6), ("int8", "int8", 0.6),
            ("each", "float32", EACH),
        )
    }  # fmt: skip


@pytest.mark.parametrize("name", ["float32", "int8"])
def test_one_sigmoid_at_its_operating_point(binary, binary_files, name):
    """The device keeps the promise that was made on the desk."""
    model, data, point = binary
    classifier = ImageClassifier(binary_files[name])
    assert classifier.score_thresholds == pytest.approx((point.threshold,))
    listed = classifier.classify_batch(data.x)
    found = np.array([[category.label for category in each] == ["defect"] for each in listed])
    assert all(len(each) <= 1 for each in listed) and 0 < found.sum() < len(found)
    if name == "float32":
        assert found[data.y == 0].mean() == point.fpr <= 0.1
        assert found[data.y == 1].mean() == point.recall
    result = kd.export.verify(model, binary_files[name], data)
    assert result.is_multilabel and result.agreement >= (1.0 if name == "float32" else 0.95)
    scores = model.predict(data, verbose=0)[:, 0]
    assert result.keras_accuracy == pytest.approx(np.mean((scores >= point.threshold) == data.y))
    assert result.accuracy == pytest.approx(np.mean(found == data.y))


def test_one_score_without_a_threshold_is_judged_at_a_half(binary, tmp_path):
    """And a number that is no answer of yes or no has no accuracy."""
    model, data, _ = binary
    path = kd.export.to_tflite(model, tmp_path / "a.tflite", preprocessing=NORMALIZATION).path
    result = kd.export.verify(model, path, data)
    scores = model.predict(data, verbose=0)[:, 0]
    assert result.accuracy == pytest.approx(np.mean((scores >= 0.5) == data.y)) != data.y.mean()
    ages = kd.data.pipeline(data.x, data.y * 31.5, normalization=NORMALIZATION)
    result = kd.export.verify(model, path, ages)
    assert result.accuracy is None and result.agreement is None and "top class" not in str(result)


def test_a_softmax_that_does_not_know(softmax_files, tmp_path, capsys):
    """Of no class above its threshold nothing is listed, and the command says so."""
    from PIL import Image

    model, paths = softmax_files
    scores = model.predict(NORMALIZATION(PIXELS), verbose=0)
    for name, least in (("one", np.full(4, 0.6)), ("each", np.array(EACH))):
        listed = ImageClassifier(paths[name]).classify_batch(PIXELS)
        expected = [[CLASSES[i] for i in np.argsort(-row) if row[i] >= least[i]] for row in scores]
        assert [[category.label for category in each] for each in listed] == expected
        assert [] in expected and {len(each) for each in expected} >= {0, 1}
    unknown = int(np.argmin(scores.max(1)))
    Image.fromarray(PIXELS[unknown]).save(tmp_path / "a.png")
    command = ["classify", str(paths["one"]), str(tmp_path / "a.png")]
    assert main(command) == 0
    assert "none: no class reaches its threshold" in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["categories"] == []


def test_two_softmax_scores_at_an_operating_point(binary, tmp_path):
    """With 1 - t for the other class each image gets one answer."""
    _, data, point = binary
    inputs = keras.Input((16, 16, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, "softmax")(pooled))
    kernel = np.array([[2.0], [-1.0], [0.5]])
    model.layers[-1].set_weights([kernel * [0, 1], np.array([0.0, -0.3])])
    path = kd.export.to_tflite(
        model, tmp_path / "a.tflite", preprocessing=NORMALIZATION, labels=["intact", "defect"],
        score_thresholds=[1 - point.threshold, point.threshold],
    ).path  # fmt: skip
    listed = ImageClassifier(path).classify_batch(data.x)
    assert {len(each) for each in listed} == {1}
    found = np.array([each[0].label == "defect" for each in listed])
    assert (found[data.y == 0].mean(), found[data.y == 1].mean()) == (point.fpr, point.recall)


class TestMediaPipe:
    """MediaPipe Tasks knows one threshold for all classes, the standard's: it goes by the least."""

    def listed(self, path, pixels, **options):
        try:
            import mediapipe
            from mediapipe.tasks.python import BaseOptions, vision

            base = BaseOptions(model_asset_buffer=path.read_bytes())
            given = vision.ImageClassifierOptions(base_options=base, **options)
            classifier = vision.ImageClassifier.create_from_options(given)
        except (ImportError, OSError) as error:
            pytest.skip(f"MediaPipe needs libgles2, libegl1 and libgl1: {error}")
        with classifier:
            for image in pixels:
                picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)
                found = classifier.classify(picture).classifications[0].categories
                yield [category.category_name for category in found]

    @pytest.mark.parametrize("name", ["one", "int8", "float32 binary", "int8 binary"])
    def test_one_threshold_is_the_same_for_both(self, softmax_files, binary_files, name):
        kind, _, is_binary = name.partition(" ")
        path = binary_files[kind] if is_binary else softmax_files[1][kind]
        ours = ImageClassifier(path).classify_batch(PIXELS)
        theirs = list(self.listed(path, PIXELS))
        assert theirs == [[category.label for category in each] for each in ours]
        assert [] in theirs and len({len(each) for each in theirs}) > 1

    def test_of_several_it_takes_the_least(self, softmax_files):
        model, paths = softmax_files
        scores = model.predict(NORMALIZATION(PIXELS), verbose=0)
        expected = [[CLASSES[i] for i in np.argsort(-row) if row[i] >= 0.3] for row in scores]
        assert list(self.listed(paths["each"], PIXELS)) == expected

    def test_its_own_option_comes_first(self, softmax_files):
        found = list(self.listed(softmax_files[1]["one"], PIXELS[:5], score_threshold=0.0001))
        assert all(len(each) == 4 for each in found)


def test_the_standard_record_by_its_own_reader(softmax_files):
    schema = pytest.importorskip("mediapipe.tasks.metadata.metadata_schema_py_generated")
    for name, least in (("one", 0.6), ("each", 0.3)):
        metadata = ModelFile.read(softmax_files[1][name]).metadata
        assert metadata.score_threshold == pytest.approx(least)
        content = metadata.extra["TFLITE_METADATA"]
        root = schema.ModelMetadataT.InitFromObj(schema.ModelMetadata.GetRootAs(content, 0))
        (unit,) = root.subgraphMetadata[0].outputTensorMetadata[0].processUnits
        assert unit.optionsType == schema.ProcessUnitOptions.ScoreThresholdingOptions
        assert unit.options.globalScoreThreshold == pytest.approx(least)


def test_one_number_that_is_lowered(binary, tmp_path):
    model, data, _ = binary
    with pytest.warns(UserWarning, match=r"classes \[0\] are lowered to 0.9961"):
        path = kd.export.to_tflite(
            model, tmp_path / "a.tflite", quantization="int8", calibration=data,
            score_thresholds=0.999,
        ).path  # fmt: skip
    assert ModelFile.read(path).metadata.score_threshold == pytest.approx(255 / 256)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(
            ValueError, match=r"one for each class, or one for all\. Received: 1\.5"
        ):
            kd.export.to_tflite(
                model,
                tmp_path / "b.tflite",
                score_thresholds=1.5,
                preprocessing=kd.data.Normalization.identity(),
            )


def test_thresholds_that_the_model_records(tmp_path):
    """They are in its files unless others are given, and not in those of its features."""
    inputs = keras.Input((8, 8, 1))
    x = kd.layers.ImageDescription(kd.data.Normalization(0, 255), ["a", "b"])(inputs)
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(x))
    model = keras.Model(inputs, keras.layers.Dense(2, "sigmoid")(features))
    kd.layers.record_thresholds(model, [0.25, 0.75])
    model.save(tmp_path / "model.keras")
    path = tmp_path / "model.tflite"
    written = kd.export.to_tflite(tmp_path / "model.keras", path).path
    assert kd.edge.ImageClassifier(written).score_thresholds == (0.25, 0.75)

    recorded, row = kd.layers.describe(model), find_scheme("float32")
    scores = (Output("", "scores", (2,), None),)
    assert assign_thresholds(scores, 0.5, recorded, row)[0].score_thresholds == (0.5, 0.5)
    numbers = (Output("", "numbers", (4,), None),)
    assert assign_thresholds(numbers, None, recorded, row) == numbers
    with pytest.raises(ValueError, match=r"must be 3 numbers.*Received: \(0.25, 0.75\)"):
        assign_thresholds((Output("", "scores", (3,), None),), None, recorded, row)
