"""Files of models with several outputs: Keras's order, Keras's names, in every scheme."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from small_models import randomise

import keras_dlcourse as kd
from keras_dlcourse.edge import ImageClassifier, ModelFile

L = keras.layers
PIXELS = kd.data.Normalization(127.5, 127.5)
# Names in an order that no sorting gives, of several widths, two of them the same.
NAMINGS = [
    ("zebra", "ant", "moth"),
    ("out_10", "out_9", "out_1"),
    ("b", "a", "c"),
    ("Scores", "scores2", "Angle"),
]
WIDTHS = (3, 5, 3)


def _model(names, structure, shape=(8, 8, 3)):
    inputs = keras.Input(shape)
    x = L.Flatten()(L.Conv2D(4, 3, activation="relu")(inputs) if len(shape) == 3 else inputs)
    outputs = [L.Dense(width, name=name)(x) for name, width in zip(names, WIDTHS, strict=True)]
    structures = {"list": list, "tuple": tuple, "dict": lambda o: dict(zip(names, o, strict=True))}
    return randomise(keras.Model(inputs, structures[structure](outputs)))


def _listed(predicted, names):
    return [predicted[name] for name in names] if isinstance(predicted, dict) else predicted


@pytest.mark.parametrize("structure", ["list", "tuple", "dict"])
@pytest.mark.parametrize("names", NAMINGS, ids="-".join)
@pytest.mark.parametrize("scheme", ["float32", "int8"])
def test_order_and_names_are_those_of_keras(names, structure, scheme, tmp_path):
    model = _model(names, structure)
    pixels = np.random.default_rng(0).integers(0, 256, (100, 8, 8, 3), "uint8")
    path = tmp_path / "model.tflite"
    labels = ["x", "y", "z"]
    data = kd.data.pipeline(pixels, normalization=PIXELS)
    kd.export.to_tflite(model, path, quantization=scheme, calibration=data, labels=labels)
    file = ModelFile.read(path)
    assert file.metadata.outputs == names
    assert tuple(tensor.name for tensor in file.outputs) == names
    assert tuple(tensor.shape[-1] for tensor in file.outputs) == WIDTHS
    expected = _listed(model.predict(data.prepare(pixels[:20]), verbose=0), names)
    classifier = ImageClassifier(path)
    assert classifier.labels == tuple(labels)
    found = classifier.run(pixels[:20])
    for one, other in zip(expected, found, strict=True):
        tolerance = (0.1 if scheme == "int8" else 1e-4) * np.ptp(one)
        assert np.abs(one - other).max() < tolerance  # of another head: a whole range
    # The labels belong to the first output.
    best = classifier.classify(pixels[0])[0]
    assert best.index == found[0][0].argmax()
    result = kd.export.verify(model, path, data)
    assert result.passed, result
    assert set(result.coordinate_errors) == set(names[1:])
    assert f"{names[1]}: " in str(result)


def test_verify_judges_every_output(tmp_path):
    model = _model(("a", "b", "c"), "dict")
    pixels = np.random.default_rng(0).uniform(-1, 1, (50, 8, 8, 3)).astype("float32")
    kd.export.to_tflite(model, tmp_path / "m.tflite", preprocessing=PIXELS)
    weights = model.get_layer("b").get_weights()
    model.get_layer("b").set_weights([-weights[0], weights[1]])
    labels = {"a": np.zeros((50, 3)), "b": np.zeros(50, int), "c": np.zeros((50, 3))}
    result = kd.export.verify(model, tmp_path / "m.tflite", (pixels, labels))
    assert not result.passed and all(failure.startswith("b: ") for failure in result.failures)
    other = _model(("a", "b", "d"), "dict")
    with pytest.raises(ValueError, match=r"outputs \['a', 'b', 'd'\].*has \['a', 'b', 'c'\]"):
        kd.export.verify(other, tmp_path / "m.tflite", pixels)
    first = keras.Model(other.inputs, other.output["a"])
    with pytest.raises(ValueError, match="one without a name.*they are not the same model"):
        kd.export.verify(first, tmp_path / "m.tflite", pixels)


@pytest.mark.parametrize("structure", ["list", "dict"])
def test_models_of_vectors_and_quantization_aware_ones(structure, tmp_path):
    names = ("z", "y", "x")
    vectors = np.random.default_rng(0).normal(size=(200, 6)).astype("float32")
    model = _model(names, structure, (6,))
    kd.export.to_tflite(model, tmp_path / "a.tflite")
    assert tuple(tensor.name for tensor in ModelFile.read(tmp_path / "a.tflite").outputs) == names
    assert kd.export.verify(model, tmp_path / "a.tflite", vectors).passed
    aware = kd.quantize.quantization_aware(model)
    kd.quantize.calibrate(aware, vectors)
    kd.export.to_tflite(aware, tmp_path / "b.tflite")
    file = ModelFile.read(tmp_path / "b.tflite")
    assert tuple(tensor.shape[-1] for tensor in file.outputs) == WIDTHS
    assert len(file.outputs) == 3 and kd.export.verify(aware, file.what, vectors).passed


def test_one_layer_with_two_outputs(tmp_path):
    inputs = keras.Input((4,))
    first, second = keras.ops.split(L.Dense(6)(inputs), [2], axis=-1)
    model = randomise(keras.Model(inputs, [second, first]))
    kd.export.to_tflite(model, tmp_path / "m.tflite")
    file = ModelFile.read(tmp_path / "m.tflite")
    assert [tensor.name for tensor in file.outputs] == ["output_0", "output_1"]
    assert [tensor.shape for tensor in file.outputs] == [(1, 4), (1, 2)]


def test_labels_by_output(tmp_path):
    names = ("zebra", "ant", "moth")
    model = _model(names, "dict")
    labels = {"moth": ["m0", "m1", "m2"], "zebra": ["z0", "z1", "z2"]}
    result = kd.export.to_tflite(model, tmp_path / "m.tflite", preprocessing=PIXELS, labels=labels)
    assert [one.labels for one in result.outputs] == [
        ("z0", "z1", "z2"), None, ("m0", "m1", "m2"),
    ]  # fmt: skip
    metadata = ModelFile.read(result.path).metadata
    assert metadata.labels == ("z0", "z1", "z2")
    assert metadata.output_labels == {"zebra": ("z0", "z1", "z2"), "moth": ("m0", "m1", "m2")}
    with pytest.raises(ValueError, match="there are 2 labels, but the model has 5 outputs"):
        kd.export.to_tflite(
            model, tmp_path / "m.tflite", preprocessing=PIXELS, labels={"ant": ["a", "b"]}
        )


def test_a_dictionary_of_one(tmp_path):
    inputs = keras.Input((4,))
    model = randomise(keras.Model(inputs, {"scores": L.Dense(3, activation="softmax")(inputs)}))
    result = kd.export.to_tflite(model, tmp_path / "m.tflite", labels=["x", "y", "z"])
    x = np.random.default_rng(0).normal(size=(20, 4)).astype("float32")
    y = model.predict(x, verbose=0)["scores"].argmax(-1)
    for labels in (y, {"scores": y}):
        verification = kd.export.verify(model, result, (x, labels))
        assert verification.passed and verification.accuracy == 1


def test_nested_outputs(tmp_path):
    inputs = keras.Input((4,))
    outputs = {"a": [L.Dense(1)(inputs), L.Dense(2)(inputs)], "b": L.Dense(3)(inputs)}
    with pytest.raises(kd.export.ExportError, match="must be a flat list or dictionary"):
        kd.export.to_tflite(keras.Model(inputs, outputs), tmp_path / "m.tflite")


@pytest.mark.parametrize("names", [("class_map", "b"), ("a", "class_map")])
def test_an_output_that_is_only_called_class_map(names, tmp_path):
    model = _model((*names, "c"), "dict")
    result = kd.export.to_tflite(model, tmp_path / "m.tflite", preprocessing=PIXELS)
    assert [one.name for one in kd.export.inspect(result).outputs] == [*names, "c"]
    pixels = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), "uint8")
    verification = kd.export.verify(model, result, kd.data.pipeline(pixels, normalization=PIXELS))
    assert verification.passed and [one.kind for one in verification.outputs] == ["numbers"] * 3


def test_labels_of_unknown_outputs(tmp_path):
    path = tmp_path / "m.tflite"
    with pytest.raises(ValueError, match="keys ants, but the model has the outputs ant, moth, bee"):
        kd.export.to_tflite(
            _model(("ant", "moth", "bee"), "list"), path, preprocessing=PIXELS,
            labels={"ants": ["a", "b", "c"]},
        )  # fmt: skip
    inputs = keras.Input((4,))
    embedder = keras.Model(inputs, {"a": L.Dense(2)(inputs), "b": L.UnitNormalization()(inputs)})
    with pytest.raises(ValueError, match="there are 3 labels, but the model has 2 outputs"):
        kd.export.to_tflite(embedder, path, labels={"a": ["x", "y", "z"]})
    assert not path.exists()


class TestLimits:
    @pytest.fixture(scope="class")
    def pair(self, tmp_path_factory):
        """A model, and the file of one whose second output is another."""
        model = _model(("a", "b", "c"), "list", shape=(6,))
        path = tmp_path_factory.mktemp("limits") / "m.tflite"
        kd.export.to_tflite(model, path)
        second = next(layer for layer in model.layers if layer.name == "b")
        second.kernel.assign(second.kernel[:, ::-1])
        second.bias.assign(second.bias[::-1])
        return model, path, np.random.default_rng(0).normal(size=(50, 6)).astype("float32")

    def test_the_cause_is_that_of_the_output_that_fails(self, pair):
        model, path, x = pair
        verification = kd.export.verify(model, path, x)
        assert [bool(one.failures) for one in verification.outputs] == [False, True, False]
        assert verification.failures[0].startswith("b: max_relative_error")
        assert not verification.passed and "other weights" in verification.cause

    def test_of_one_output(self, pair):
        model, path, x = pair
        verification = kd.export.verify(model, path, x, limits={"b": {"max_relative_error": None}})
        assert verification.passed
        assert verification.outputs[1].limits == {"max_relative_error": None}
        assert verification.outputs[2].limits == {"max_relative_error": 0.001}
        strict = {"max_error": 1e-9, "b": {"max_error": None, "max_relative_error": None}}
        failed = [
            bool(one.failures) for one in kd.export.verify(model, path, x, limits=strict).outputs
        ]
        assert failed == [True, False, True]

    def test_errors(self, pair):
        with pytest.raises(ValueError, match=r"names of outputs as keys: a, b, c. Received: d"):
            kd.export.verify(*pair, limits={"d": {"max_error": 1}})
        with pytest.raises(ValueError, match="min_cosine cannot be checked"):
            kd.export.verify(*pair, limits={"b": {"min_cosine": 1}})
        with pytest.raises(ValueError, match="limits must be some of"):
            kd.export.verify(*pair, limits={"b": {"least": 1}})
