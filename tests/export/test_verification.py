"""verify sees the difference that is there, and only that."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest
from small_models import CLASSES, images, randomise, small_classifier

import keras_dlcourse as kd
from keras_dlcourse.edge import ModelFile
from keras_dlcourse.export.checking import verification
from keras_dlcourse.export.checking.kernels import find_kernels, measure_likeness
from keras_dlcourse.export.outputs import KINDS
from keras_dlcourse.export.outputs.kind import INTEGER, Compared
from keras_dlcourse.export.outputs.limits import find_missed_limits
from keras_dlcourse.export.outputs.undescribed import kind_of_scores


@pytest.fixture(scope="module")
def test_data(classifier, normalization):
    pixels = images(60, seed=3)
    labels = classifier.predict(normalization(pixels), verbose=0).argmax(1)
    labels[:6] = (labels[:6] + 1) % 4  # so that accuracy is 0.9
    return kd.data.pipeline(pixels, labels, normalization=normalization)


def test_float32(files, classifier, test_data):
    result = kd.export.verify(classifier, files["float32"], test_data)
    assert result.max_error < 1e-5
    assert result.max_error_steps is None
    assert result.agreement == 1.0
    assert result.keras_accuracy == result.accuracy == pytest.approx(0.9)
    assert result.examples == 60
    assert result.quantization == "float32"
    assert result.same_weights is True
    assert result.bytes == files["float32"].path.stat().st_size
    assert result.keras_bytes == 4 * classifier.count_params()
    assert result.latency_ms > 0 < result.keras_latency_ms


def test_int8_in_steps(files, classifier, test_data):
    result = kd.export.verify(classifier, files["int8"], test_data)
    assert 0 < result.mean_error < result.max_error < 0.1
    assert result.max_error_steps == pytest.approx(result.max_error * 256)  # softmax: 1/256
    assert 0.9 < result.agreement <= 1
    assert result.runtime.startswith("ai-edge-litert")
    assert "steps" in str(result)
    assert result.to_dict()["size_ratio"] == result.size_ratio


def test_pixels_and_arrays_give_the_same(files, classifier, test_data, normalization):
    """Fed from pixels by the classifier or from normalised arrays, the file answers the same."""
    for quantization in ("float32", "int8"):
        one = kd.export.verify(classifier, files[quantization], test_data)
        other = kd.export.verify(
            classifier, files[quantization], (normalization(test_data.x), test_data.y)
        )
        assert one.max_error == pytest.approx(other.max_error, abs=1e-6)
        assert one.accuracy == other.accuracy


@pytest.mark.parametrize("channels", [1, 3])
def test_conversions_inside_the_graph_are_undone_for_arrays(tmp_path, channels):
    model = small_classifier(channels)
    normalization = kd.data.Normalization(
        (120.0, 90.0, 60.0)[:channels], (50.0, 60.0, 70.0)[:channels]
    )
    path = kd.export.to_tflite(
        model, tmp_path / "m.tflite", preprocessing=normalization, rgb=channels == 1
    )
    noise = np.random.default_rng(0).uniform(0, 255, (10, 16, 16, channels))
    result = kd.export.verify(model, path, normalization(noise))
    assert result.max_error < 1e-5 and not result.from_pixels


def test_a_wrong_file_is_seen(files, test_data):
    other = small_classifier()
    other.layers[-2].kernel.assign_add(keras.random.normal(other.layers[-2].kernel.shape, seed=0))
    result = kd.export.verify(other, files["float32"], test_data)
    assert result.same_weights is False
    assert result.max_error > 0.01
    assert "other weights" in str(result)


def test_limits(files, classifier, test_data):
    result = kd.export.verify(classifier, files["int8"], test_data, limit=20)
    assert result.examples == 20
    assert result.require(max_error=0.1, min_agreement=0.8, max_accuracy_loss=0.2) is result
    with pytest.raises(kd.export.VerificationError, match="max_error=1e-09, measured"):
        result.require(max_error=1e-9)
    with pytest.raises(kd.export.VerificationError, match="max_error.*min_agreement=1.1"):
        result.require(max_error=1e-9, min_agreement=1.1)
    with pytest.raises(kd.export.VerificationError, match="max_error_steps"):
        result.require(max_error_steps=0.01)
    float32 = kd.export.verify(classifier, files["float32"], test_data.normalization(images(10)))
    for limit in ({"max_error_steps": 1}, {"max_accuracy_loss": 0.1}):
        with pytest.raises(ValueError, match="cannot be checked: not measurable"):
            float32.require(**limit)


def test_one_hot_labels(files, classifier, test_data):
    one_hot = np.eye(len(CLASSES))[test_data.y]
    data = kd.data.take(test_data).inputs, one_hot
    result = kd.export.verify(classifier, files["float32"], data)
    assert result.accuracy == pytest.approx(0.9)


def test_misfits_are_named(files, classifier, test_data, tmp_path):
    with pytest.raises(ValueError, match=r"shape \(16, 16, 3\). Received: .*shape \(8, 8, 3\)"):
        kd.export.verify(classifier, files["float32"], np.zeros((3, 8, 8, 3), "float32"))
    other = keras.Sequential(
        [keras.Input((16, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(7)]
    )
    with pytest.raises(ValueError, match="not the same model"):
        kd.export.verify(other, files["float32"], test_data)
    with pytest.raises(FileNotFoundError):
        kd.export.verify(classifier, tmp_path / "none.tflite", test_data)
    (tmp_path / "damaged.tflite").write_bytes(files["int8"].path.read_bytes()[:1000])
    with pytest.raises(kd.edge.InvalidModel):
        kd.export.verify(classifier, tmp_path / "damaged.tflite", test_data)


# What verify says: from real files of one small network that was trained to tell colours.


COLOURS = np.array([(200, 60, 60), (60, 180, 60), (60, 60, 200), (190, 190, 60)])
NORM = kd.data.Normalization(110.0, 70.0)


def coloured(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Blobs in one of four colours, hard enough that some are taken for another."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, 4, n)
    pixels = COLOURS[numbers][:, None, None] + rng.normal(0, 25, (n, 1, 1, 3))
    pixels = pixels + rng.normal(0, 30, (n, 16, 16, 3))
    return pixels.clip(0, 255).astype("uint8"), numbers


@dataclass(frozen=True)
class Trained:
    model: keras.Model
    test: kd.data.Pipeline
    float32: Path
    int8: Path
    raw: Path  # says that it takes pixels as they are


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Trained:
    keras.utils.set_random_seed(0)
    model = small_classifier()
    train, test = (
        kd.data.pipeline(*coloured(n, seed), normalization=NORM, class_names=CLASSES)
        for n, seed in ((256, 0), (120, 1))
    )
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(train, epochs=8, verbose=0)
    folder = tmp_path_factory.mktemp("trained")
    write = functools.partial(kd.export.to_tflite, model, labels=CLASSES)
    return Trained(
        model,
        test,
        write(folder / "float32.tflite", preprocessing=NORM).path,
        write(folder / "int8.tflite", quantization="int8", calibration=train).path,
        write(folder / "raw.tflite", preprocessing=kd.data.Normalization.identity()).path,
    )


def last_line(result: kd.export.Verification) -> str:
    line = str(result).splitlines()[-1]
    assert line == result.verdict and line.startswith("agrees") == result.passed
    return line


@pytest.mark.parametrize("name", ["float32", "int8"])
def test_a_right_file_agrees(trained, name):
    result = kd.export.verify(trained.model, getattr(trained, name), trained.test)
    assert last_line(result) == "agrees"
    assert result.keras_accuracy > 0.9, "the network has learned"
    assert (result.kind, result.from_pixels, result.failures) == ("classes", True, ())
    assert result.to_dict()["passed"] is True
    few = kd.export.verify(trained.model, getattr(trained, name), trained.test, limit=10)
    assert few.passed


def test_other_weights_do_not_agree(trained):
    other = keras.models.clone_model(trained.model)
    other.set_weights([weight[..., ::-1] for weight in trained.model.get_weights()])
    result = kd.export.verify(other, trained.int8, trained.test)
    assert last_line(result).startswith("does not agree: other weights")
    assert "min_class_agreement=0.95" in str(result) and result.to_dict()["cause"] == result.cause


def test_other_weights_are_known_by_their_signs_without_a_hash(trained, monkeypatch):
    """And a copy with rescaled channels has another hash, but not other weights."""
    monkeypatch.setattr(verification, "own_record", lambda file: {})
    other = keras.models.clone_model(trained.model)
    other.set_weights([weight[..., ::-1] for weight in trained.model.get_weights()])
    found = kd.export.verify(other, trained.int8, trained.test)
    assert found.same_weights is None and "other weights" in found.cause
    file = ModelFile.read(trained.int8)
    assert measure_likeness(find_kernels(trained.model), file) == 1
    assert measure_likeness(find_kernels(kd.quantize.equalize(trained.model)), file) == 1
    assert measure_likeness([], file) is None


def test_data_of_another_normalization_is_an_error_that_names_both(trained):
    with pytest.raises(ValueError, match=r"mean 110, .* 70, but .*mean 0, .* 1 \(raw pixels\)"):
        kd.export.verify(trained.model, trained.raw, trained.test)
    raw = kd.data.pipeline(trained.test.x, trained.test.y)
    for data in (raw, (trained.test.x, trained.test.y)):  # no normalization is one, too
        with pytest.raises(ValueError, match="mean 0, .* but .*mean 110"):
            kd.export.verify(trained.model, trained.float32, data)


@pytest.mark.parametrize(
    "arrays",
    [NORM, lambda pixels: pixels / 255, lambda pixels: pixels / 127.5 - 1],
    ids=["standardized", "from 0 to 1", "from -1 to 1"],
)
def test_arrays_that_the_file_would_not_make_of_pixels(trained, arrays):
    """Keras and the file agree on the arrays, which no device would give: it gives raw pixels."""
    data = arrays(trained.test.x).astype("float32"), trained.test.y
    result = kd.export.verify(trained.model, trained.raw, data)
    assert result.max_error < 1e-4 and result.accuracy == result.keras_accuracy
    assert last_line(result).startswith("does not agree: normalization: the arrays have values")
    assert "mean 0, standard deviation 1 (raw pixels)" in result.cause
    assert not kd.export.verify(trained.model, trained.float32, (trained.test.x / 255,)).passed


def test_arrays_that_the_file_makes_of_pixels_go_the_way_of_the_device(trained):
    result = kd.export.verify(trained.model, trained.int8, (NORM(trained.test.x), trained.test.y))
    pixels = kd.export.verify(trained.model, trained.int8, trained.test)
    assert (result.from_pixels, result.max_error) == (True, pixels.max_error)
    raw = kd.export.verify(trained.model, trained.raw, trained.test.x)  # what uint8 arrays are
    assert (raw.from_pixels, raw.passed) == (True, True)
    noise = np.random.default_rng(0).uniform(0, 200, (9, 16, 16, 3))  # no pixels of eight bits
    result = kd.export.verify(trained.model, trained.float32, NORM(noise))
    assert (result.from_pixels, result.passed) == (False, True)


def test_a_file_that_gives_devices_another_normalization(trained, tmp_path):
    """The record is right, but the metadata that devices read are not."""
    content = trained.float32.read_bytes()
    right, wrong = np.float32(110).tobytes(), np.float32(10).tobytes()
    assert content.count(right) == 1
    (tmp_path / "m.tflite").write_bytes(content.replace(right, wrong))
    result = kd.export.verify(trained.model, tmp_path / "m.tflite", trained.test)
    assert last_line(result).startswith("does not agree: normalization: the file agrees on")


def test_channels_in_another_order(trained):
    inputs = keras.Input((16, 16, 3))
    reversed_channels = keras.Model(inputs, trained.model(inputs[..., ::-1]))
    result = kd.export.verify(reversed_channels, trained.float32, trained.test)
    assert result.same_weights
    assert last_line(result).startswith("does not agree: channel order: with red and blue")


def test_labels_in_another_order(trained):
    """Of the data, where all numbers agree; and of the outputs."""
    named = kd.data.pipeline(
        trained.test.x, trained.test.y, normalization=NORM, class_names=CLASSES[::-1]
    )
    result = kd.export.verify(trained.model, trained.float32, named)
    assert result.agreement == 1 and not result.failures
    assert last_line(result) == (
        "does not agree: labels in another order: class 0 is 'shirt' in the file, but 'coat' in "
        "the data"
    )
    inputs = keras.Input((16, 16, 3))
    turned = keras.Model(inputs, keras.ops.roll(trained.model(inputs), 1, axis=-1))
    result = kd.export.verify(turned, trained.int8, trained.test)
    assert "labels in another order: output 0 of Keras is output 3 of the file" in result.cause


def test_limits_can_be_set(trained):
    result = kd.export.verify(trained.model, trained.int8, trained.test, limits={"max_error": 1e-9})
    assert result.failures[0].startswith("max_error=1e-09, measured 0.")
    assert last_line(result) == (
        "does not agree: unknown cause: run kd.quantize.diagnose(model, file, data)"
    )
    other = small_classifier()
    free = dict.fromkeys(("max_mean_relative_error", "min_class_agreement", "max_accuracy_loss"))
    result = kd.export.verify(other, trained.int8, trained.test, limits=free)
    assert result.passed and "The file was made from weights other than" in str(result)
    with pytest.raises(ValueError, match="some of max_error, .*Received: .*'agreement'"):
        kd.export.verify(other, trained.int8, trained.test, limits={"agreement": 1})
    with pytest.raises(ValueError, match="min_cosine cannot be checked"):
        kd.export.verify(other, trained.int8, trained.test, limits={"min_cosine": 0.9})
    for limit, error in (("small", TypeError), (float("nan"), ValueError)):
        with pytest.raises(error, match="max_error must be a finite number. Received: "):
            result.require(max_error=limit)


def test_masks(tmp_path):
    """At each position; a label an image is none of a mask."""
    x = inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    model = keras.Model(inputs, keras.layers.Conv2D(1, 1, activation="sigmoid")(x))
    randomise(model)
    model.layers[-1].bias.assign([-0.5])
    path = kd.export.to_tflite(model, tmp_path / "m.tflite", preprocessing=NORM).path
    pixels = images(30)
    masks = model.predict(NORM(pixels), verbose=0) >= 0.5
    assert 0.1 < masks.mean() < 0.9
    flipped = masks.astype(int)
    flipped[:3] = 1 - flipped[:3]  # so that accuracy is 0.9
    for labels in (flipped, flipped[..., 0]):
        data = kd.data.pipeline(pixels, labels, normalization=NORM)
        result = kd.export.verify(model, path, data)
        assert (result.kind, result.from_pixels, result.passed) == ("labels", True, True)
        assert result.keras_accuracy == result.accuracy == pytest.approx(0.9)
    assert "same labels at a position" in str(result)
    numbers = kd.data.pipeline(pixels, np.arange(30) % 4, normalization=NORM)
    result = kd.export.verify(model, path, numbers)
    assert (result.kind, result.passed, result.accuracy) == ("labels", True, None)
    assert "labels of shape (30,) do not fit outputs of shape (30, 16, 16, 1)" in str(result)
    model.layers[-1].bias.assign([-5.0])
    result = kd.export.verify(model, path, numbers)
    assert "other weights" in last_line(result)


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """A class at every step of a series: the model, its inputs, an integer file."""
    x = inputs = keras.Input((12, 3))
    x = keras.layers.Conv1D(6, 3, padding="same", activation="relu")(x)
    model = randomise(keras.Model(inputs, keras.layers.Dense(4)(x)))
    series = np.random.default_rng(0).normal(0, 1, (120, 12, 3)).astype("float32")
    path = tmp_path_factory.mktemp("steps") / "m.tflite"
    kd.export.to_tflite(model, path, quantization="int8", calibration=series)
    return model, series, path


def test_sequences(steps):
    model, series, path = steps
    right = model.predict(series, verbose=0).argmax(-1)
    wrong = np.where(np.arange(12) < 3, (right + 1) % 4, right)  # so that accuracy is 0.75
    result = kd.export.verify(model, path, (series, wrong))
    assert (result.kind, result.from_pixels) == ("classes", False)
    assert result.keras_accuracy == pytest.approx(0.75) and result.passed
    assert result.accuracy == pytest.approx(0.75, abs=0.02)
    assert "same top class at a position" in str(result)
    result = kd.export.verify(model, path, (series, right[:, 0]))
    assert result.accuracy is None and "labels of shape (120,) do not fit" in str(result)


def test_numbers_outside_of_the_integer_range(steps):
    model, series, path = steps
    labels = model.predict(8 * series, verbose=0).argmax(-1)
    result = kd.export.verify(model, path, (8 * series, labels))
    assert last_line(result).startswith("does not agree: int8 range: the input of the file holds")


def test_regressions(tmp_path):
    """By the range of each number, and without an accuracy."""
    inputs = keras.Input((5,))
    model = randomise(keras.Model(inputs, keras.layers.Dense(2)(inputs)))
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel * [1000, 1], bias])
    path = kd.export.to_tflite(model, tmp_path / "m.tflite").path
    x = np.random.default_rng(0).normal(size=(40, 5)).astype("float32")
    given = model.predict(x, verbose=0)
    result = kd.export.verify(model, path, (x, given + 0.1))
    assert (result.kind, result.passed) == ("numbers", True)
    assert (result.accuracy, result.agreement) == (None, None)
    assert "accuracy" not in str(result) and "top class" not in str(result)
    # The second number, small beside the first, is off by a tenth of its own range.
    model.layers[-1].set_weights([kernel * [1000, 1], bias + [0, 0.1 * np.ptp(given[:, 1])]])
    result = kd.export.verify(model, path, (x, given))
    assert not result.passed and result.max_relative_error == pytest.approx(0.1, rel=1e-3)


def kind(scores, labels=None, **options):
    found, labels, note = kind_of_scores(np.asarray(scores, "float32"), labels, **options)
    return found, None if labels is None else labels.shape, note


class TestKindOfScores:
    SHARES = np.full((6, 2, 4), 0.25)
    REALS = np.arange(48.0).reshape(6, 2, 4)

    def test_what_is_known_of_the_outputs(self):
        assert kind(self.SHARES)[0] == "classes"
        assert kind(self.REALS)[0] == "numbers"
        assert kind(self.REALS, class_names=CLASSES)[0] == "classes"
        assert kind(self.SHARES[..., :1], activation="sigmoid")[0] == "labels"
        assert kind(self.SHARES[..., 0] * 2, thresholds=(0.5, 0.5))[0] == "labels"

    def test_labels(self):
        numbers = np.arange(12).reshape(6, 2) % 4
        assert kind(self.REALS, numbers) == ("classes", (6, 2), None)
        assert kind(self.REALS, numbers[..., None]) == ("classes", (6, 2), None)
        assert kind(self.REALS, np.eye(4)[numbers]) == ("classes", (6, 2, 4), None)
        assert kind(self.REALS, self.REALS)[0] == "numbers"
        assert kind(self.REALS, self.REALS % 2)[0] == "labels"
        assert kind(self.REALS[:, :1, :1], np.arange(6) % 2)[:2] == ("labels", (6, 1, 1))
        unknown = np.where(numbers == 1, -1, numbers)
        assert kind(self.SHARES, unknown)[:2] == ("classes", (6, 2))

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (np.arange(6), r"labels of shape \(6,\) do not fit outputs of shape \(6, 2, 4\)"),
            (np.full((6, 2), 7), "labels up to 7 are not indices of 4 classes"),
            (np.full((6, 2, 4), 0.3), "neither class indices nor one-hot"),
        ],
    )
    def test_labels_that_do_not_fit_are_said(self, labels, message):
        found, labels, note = kind(self.SHARES, labels)
        assert (found, labels) == ("classes", None)
        assert re.search(f"{message}.*: accuracy not measured", note)


class TestLimits:
    """Of integer files, on made-up outputs."""

    @staticmethod
    def judged(ours, theirs, step=1 / 256, labels=None, kind="classes"):
        given = Compared(np.float32(ours), np.float32(theirs), step, labels)
        figures = KINDS[kind].measure(given)
        return figures, find_missed_limits(figures, KINDS[kind].limits[INTEGER], {})

    def test_few_examples_are_no_proof_of_a_loss(self):
        ours = np.eye(2)[np.arange(12) % 2]
        theirs = ours.copy()
        theirs[0] = theirs[0, ::-1]
        figures, missed = self.judged(ours, theirs, labels=np.arange(12) % 2)
        assert figures.values["agreement"] == 11 / 12 and not missed
        many = [np.tile(one, (40, 1)) for one in (ours, theirs)]
        _, missed = self.judged(*many, labels=np.arange(480) % 2)
        assert [one.split("=")[0] for one in missed] == ["min_class_agreement", "max_accuracy_loss"]

    def test_a_margin_below_a_step_is_no_answer(self):
        ours = np.tile([[0.501, 0.499]], (50, 1))
        figures, missed = self.judged(ours, ours[:, ::-1])
        assert figures.values["agreement"] == 0 and not missed
        _, missed = self.judged(ours, ours[:, ::-1], step=1e-4)
        assert missed

    def test_a_rare_class_counts_as_a_common_one(self):
        """A mask that is empty, beside one that has a thing on 4 % of its places."""
        ours = np.zeros((20, 10, 10, 1))
        ours[:, :2, :2] = 0.9
        figures, missed = self.judged(ours, np.zeros_like(ours), kind="labels")
        assert figures.values["agreement"] == 0.96
        assert figures.values["class_agreement"] == 0.5 and missed

    def test_nan_never_agrees(self):
        boxes = np.array([[[0.1, 0.1, 0.5, 0.5, 0, 0.9], [0.5, 0.5, 0.9, 0.9, 1, 0.8]]] * 4)
        for name in KINDS:
            ours = boxes if name == "detection" else np.eye(4)
            assert not self.judged(ours, ours, kind=name)[1]
            assert self.judged(ours, np.full_like(ours, np.nan), kind=name)[1]
