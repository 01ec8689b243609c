"""Files of models with several inputs: Keras's order, Keras's names, each input as its kind."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from small_models import randomise

import keras_dlcourse as kd
from keras_dlcourse.edge import DeviceModel, ModelFile

L = keras.layers
UNIT = kd.data.Normalization(0, 255)
NAMES = ("words", "photo", "ages")  # an order that no sorting gives
DTYPES = {"float32": ("int32", "float32", "float32"), "int8": ("int32", "uint8", "uint8")}


def _model(structure, *, preprocess=False):
    words = keras.Input((6,), dtype="int32", name="words")
    photo = keras.Input((8, 8, 3), name="photo")
    ages = keras.Input((4,), name="ages")
    pixels = kd.layers.ImageDescription(UNIT)(photo) if preprocess else photo
    x = L.Concatenate()(
        [
            L.Flatten()(L.Conv2D(4, 3, activation="relu")(pixels)),
            L.Flatten()(L.Embedding(1000, 4)(words)),
            L.Dense(3, activation="relu")(ages),
        ]
    )
    inputs = [words, photo, ages]
    if structure == "dict":
        inputs = dict(zip(NAMES, inputs, strict=True))
    elif structure == "nested":
        inputs = {"words": words, "others": [photo, ages]}
    outputs = L.Dense(5, activation="softmax")(x)
    return randomise(keras.Model(inputs, outputs))


@pytest.fixture(scope="module")
def examples():
    rng = np.random.default_rng(0)
    return {
        "words": rng.integers(0, 1000, (120, 6)),
        "photo": rng.integers(0, 256, (120, 8, 8, 3)).astype("float32") / 255,
        "ages": rng.normal(size=(120, 4)).astype("float32"),
    }


def _given(examples, structure):
    return examples if structure == "dict" else [examples[name] for name in NAMES]


@pytest.mark.parametrize("structure", ["dict", "list"])
@pytest.mark.parametrize("scheme", DTYPES)
def test_order_and_names_are_those_of_keras(structure, scheme, examples, tmp_path):
    model = _model(structure)
    data = (_given(examples, structure), None)
    result = kd.export.to_tflite(
        model, tmp_path / "m.tflite", quantization=scheme, calibration=data, preprocessing=UNIT
    )
    assert [(one.name, one.kind) for one in result.inputs] == [
        ("words", "tokens"), ("photo", "image"), ("ages", "vector"),
    ]  # fmt: skip
    assert result.normalization == UNIT
    file = ModelFile.read(result.path)
    assert tuple(tensor.name for tensor in file.inputs) == NAMES
    assert tuple(tensor.dtype for tensor in file.inputs) == DTYPES[scheme]
    if scheme == "int8":  # a pixel p is stored as p
        assert file.inputs[1].scales[0] == pytest.approx(1 / 255)
        assert file.inputs[1].zero_points == (0,)
    device = DeviceModel(file)
    (found,) = device.run(examples)  # by name
    expected = model.predict(_given(examples, structure), verbose=0)
    assert np.abs(found - expected).max() < (0.05 if scheme == "int8" else 1e-5)
    verification = kd.export.verify(model, result, data)
    assert verification.passed and not verification.from_pixels
    table = str(kd.export.inspect(result))
    assert "input words: tokens\ninput photo: image\ninput ages: vector" in table


def test_metadata_of_each_input(examples, tmp_path):
    schema = pytest.importorskip("mediapipe.tasks.metadata.metadata_schema_py_generated")
    result = kd.export.to_tflite(
        _model("list"), tmp_path / "m.tflite", preprocessing=UNIT, labels=["a", "b", "c", "d", "e"]
    )
    metadata = ModelFile.read(result.path).metadata
    assert metadata.labels == ("a", "b", "c", "d", "e")
    content = metadata.extra["TFLITE_METADATA"]
    root = schema.ModelMetadataT.InitFromObj(schema.ModelMetadata.GetRootAs(content, 0))
    given = root.subgraphMetadata[0].inputTensorMetadata
    assert [one.name.decode() for one in given] == list(NAMES)
    kinds = schema.ContentProperties
    assert [one.content.contentPropertiesType for one in given] == [
        kinds.FeatureProperties, kinds.ImageProperties, kinds.FeatureProperties,
    ]  # fmt: skip
    assert [len(one.processUnits or ()) for one in given] == [0, 1, 0]


def test_inputs_without_names(tmp_path):
    inputs = [keras.Input((4,)), keras.Input((3,))]
    model = randomise(keras.Model(inputs, L.Dense(2)(L.Concatenate()(inputs))))
    result = kd.export.to_tflite(model, tmp_path / "m.tflite")
    assert [one.name for one in result.inputs] == ["input_0", "input_1"]
    model.save(tmp_path / "m.keras")  # after loading, Keras calls them by other names
    rng = np.random.default_rng(0)
    data = ([rng.normal(size=(9, 4)), rng.normal(size=(9, 3))], None)
    assert kd.export.verify(tmp_path / "m.keras", result, data).passed


def test_the_only_input_is_named_by_its_kind(tmp_path):
    for shape, kind in (((4,), "vector"), ((4, 2), "sequence"), ((2, 2, 7), "numbers")):
        model = keras.Sequential([keras.Input(shape), L.Flatten(), L.Dense(2)])
        result = kd.export.to_tflite(randomise(model), tmp_path / "m.tflite")
        assert [(one.name, one.kind) for one in result.inputs] == [("", kind)]
        assert [one.name for one in DeviceModel(result.path).inputs] == [kind]
        assert [one.kind for one in kd.export.inspect(result).inputs] == [kind]


def test_nested_structures(examples, tmp_path):
    model = _model("nested")
    path = tmp_path / "m.tflite"
    kd.export.to_tflite(model, path, preprocessing=UNIT)
    expected = model.predict(
        {"words": examples["words"], "others": [examples["photo"], examples["ages"]]}, verbose=0
    )
    (found,) = DeviceModel(path).run(examples)
    assert np.abs(found - expected).max() < 1e-5


def test_quantization_aware(examples, tmp_path):
    photo, ages = keras.Input((8, 8, 3), name="photo"), keras.Input((4,), name="ages")
    pixels = kd.layers.ImageDescription(UNIT)(photo)
    features = [L.Flatten()(L.Conv2D(4, 3, activation="relu")(pixels)), L.Dense(3)(ages)]
    outputs = L.Dense(5, activation="softmax")(L.Concatenate()(features))
    model = randomise(keras.Model({"photo": photo, "ages": ages}, outputs))
    examples = {"photo": examples["photo"], "ages": examples["ages"]}
    aware = kd.quantize.calibrate(kd.quantize.quantization_aware(model), examples)
    result = kd.export.to_tflite(aware, tmp_path / "m.tflite")
    assert [one.kind for one in result.inputs] == ["image", "vector"]
    assert result.normalization_source == "model"
    assert result.float_islands == ()
    photo = ModelFile.read(result.path).inputs[0]
    assert (photo.name, photo.dtype, photo.zero_points) == ("photo", "uint8", (0,))
    assert photo.scales[0] == pytest.approx(1 / 255)
    verification = kd.export.verify(aware, result, (examples, None))
    assert verification.passed and verification.mean_error_steps < 0.5


class TestSeveralImages:
    @staticmethod
    def model(first=None, second=None):
        left, right = keras.Input((8, 8, 1), name="left"), keras.Input((8, 8, 1), name="right")
        described = [
            image if known is None else kd.layers.ImageDescription(known)(image)
            for image, known in ((left, first), (right, second))
        ]
        features = [L.Flatten()(L.Conv2D(2, 3)(image)) for image in described]
        outputs = L.Dense(2)(L.Concatenate()(features))
        return randomise(keras.Model([left, right], outputs))

    def test_each_has_its_normalization(self, tmp_path):
        model = self.model()
        other = kd.data.Normalization(100, 50)
        result = kd.export.to_tflite(
            model, tmp_path / "m.tflite", preprocessing={"left": UNIT, "right": other}
        )
        assert [one.normalization for one in result.inputs] == [UNIT, other]
        assert "pixels of left: mean 0" in str(result) and "pixels of right: mean 100" in str(
            result
        )
        assert [one.shape for one in ModelFile.read(result.path).inputs] == [(1, 8, 8, 3)] * 2
        rng = np.random.default_rng(1)
        data = [rng.normal(size=(20, 8, 8, 1)).astype("float32") for _ in range(2)]
        assert kd.export.verify(model, result, (data, None)).passed

    def test_one_normalization_is_that_of_each(self, tmp_path):
        result = kd.export.to_tflite(self.model(), tmp_path / "m.tflite", preprocessing=UNIT)
        assert [one.normalization for one in result.inputs] == [UNIT, UNIT]
        recorded = self.model(UNIT, UNIT)
        result = kd.export.to_tflite(recorded, tmp_path / "m.tflite", rgb=False)
        assert [one.normalization for one in result.inputs] == [UNIT, UNIT]
        assert [one.shape for one in ModelFile.read(result.path).inputs] == [(1, 8, 8, 1)] * 2

    def test_each_record_counts_for_its_image(self, tmp_path):
        other = kd.data.Normalization(100, 50)
        result = kd.export.to_tflite(self.model(UNIT, other), tmp_path / "m.tflite")
        assert [one.normalization for one in result.inputs] == [UNIT, other]
        with pytest.raises(ValueError, match="does not record how its pixels were normalized"):
            kd.export.to_tflite(self.model(UNIT), tmp_path / "m.tflite")

    def test_what_is_unknown_is_an_error(self, tmp_path):
        with pytest.raises(ValueError, match="does not record how its pixels were normalized"):
            kd.export.to_tflite(self.model(), tmp_path / "m.tflite")
        with pytest.raises(ValueError, match=r"names of inputs.*left, right\. Received: top"):
            kd.export.to_tflite(self.model(), tmp_path / "m.tflite", preprocessing={"top": UNIT})
        assert not (tmp_path / "m.tflite").exists()

    def test_raw_pixels_of_each_input(self, tmp_path):
        left, right = keras.Input((8, 8, 3), name="left"), keras.Input((8, 8, 3), name="right")
        features = [
            L.Flatten()(L.Conv2D(2, 3)(L.Rescaling(1 / 255)(image))) for image in (left, right)
        ]
        model = randomise(keras.Model([left, right], L.Dense(2)(L.Concatenate()(features))))
        result = kd.export.to_tflite(model, tmp_path / "m.tflite")
        assert [one.normalization_source for one in result.inputs] == ["graph", "graph"]


class TestErrors:
    def test_data_of_another_structure(self, examples, tmp_path):
        model = _model("dict")
        path = tmp_path / "m.tflite"
        listed = (_given(examples, "list"), None)
        with pytest.raises(ValueError, match=r"calibration must have an array for each input.*keys "
                           r"words, photo, ages.*a list of 3 arrays"):  # fmt: skip
            kd.export.to_tflite(
                model, path, quantization="int8", calibration=listed, preprocessing=UNIT
            )
        kd.export.to_tflite(model, path, preprocessing=UNIT)
        with pytest.raises(ValueError, match="data must have an array for each input"):
            kd.export.verify(model, path, listed)
        fewer = {name: examples[name] for name in NAMES[:2]}
        with pytest.raises(ValueError, match="Received: a dictionary of words, photo"):
            kd.export.verify(model, path, (fewer, None))
        wrong = {**examples, "ages": examples["ages"][:, :3]}
        with pytest.raises(ValueError, match=r"input shape \(4,\)"):
            kd.export.verify(model, path, (wrong, None))

    def test_another_model(self, examples, tmp_path):
        path = tmp_path / "m.tflite"
        kd.export.to_tflite(_model("dict"), path, preprocessing=UNIT)
        inputs = keras.Input((4,), name="ages")
        one = keras.Model(inputs, L.Dense(5)(inputs))
        with pytest.raises(
            ValueError, match="the Keras model has the inputs ages, but .* has words"
        ):
            kd.export.verify(one, path, examples["ages"])

    def test_class_map(self, examples, tmp_path):
        with pytest.raises(kd.export.ExportError, match="one input"):
            kd.export.to_tflite(
                _model("dict"), tmp_path / "m.tflite", preprocessing=UNIT, class_map=True
            )

    def test_subclassed(self, tmp_path):
        class Sum(keras.Model):
            def __init__(self):
                super().__init__()
                self.dense = L.Dense(2)

            def call(self, inputs):
                return self.dense(inputs["a"]) + self.dense(inputs["b"])

        model = Sum()
        model({"a": np.ones((1, 3)), "b": np.ones((1, 3))})
        with pytest.raises(kd.export.ExportError, match=r"2 inputs and no graph.*Wrap it"):
            kd.export.to_tflite(model, tmp_path / "m.tflite")

    def test_microcontroller(self, tmp_path):
        pytest.importorskip("tflite_micro")
        inputs = [keras.Input((4,), name="a"), keras.Input((4,), name="b")]
        model = randomise(keras.Model(inputs, L.Dense(2)(L.Add()(inputs))))
        kd.export.to_tflite(model, tmp_path / "m.tflite")
        with pytest.raises(ValueError, match="must have one input"):
            kd.export.micro(tmp_path / "m.tflite", tmp_path / "micro")


def test_each_image_has_what_its_own_branch_records(tmp_path):
    """Neither the record nor the scaling of one input counts for another."""
    left, right = keras.Input((8, 8, 3), name="left"), keras.Input((8, 8, 3), name="right")
    ages = keras.Input((4,), name="ages")
    described = kd.layers.ImageDescription(UNIT)(left)
    features = [
        L.Flatten()(L.Conv2D(2, 3)(described)),
        L.Flatten()(L.Conv2D(2, 3)(L.Rescaling(1 / 127.5, -1)(right))),
        L.Normalization(mean=0.5, variance=4.0)(ages),
    ]
    inputs = [ages, left, right]
    model = randomise(keras.Model(inputs, L.Dense(2)(L.Concatenate()(features))))
    result = kd.export.to_tflite(model, tmp_path / "m.tflite")
    assert [(one.normalization, one.normalization_source) for one in result.inputs] == [
        (None, None), (UNIT, "model"), (kd.data.Normalization.identity(), "graph"),
    ]  # fmt: skip
    metadata = ModelFile.read(result.path).metadata
    assert metadata.input_normalizations == {
        "left": UNIT, "right": kd.data.Normalization.identity(),
    }  # fmt: skip
    without = keras.Model(inputs, L.Dense(2)(L.Concatenate()([L.Flatten()(right), *features[:1]])))
    with pytest.raises(ValueError, match="does not record how its pixels were normalized"):
        kd.export.to_tflite(without, tmp_path / "n.tflite")


def test_names_that_could_be_confused(tmp_path):
    inputs = [keras.Input((4,), name="input_1"), keras.Input((3,)), keras.Input((2,), name="b")]
    model = randomise(keras.Model(inputs, L.Dense(2)(L.Concatenate()(inputs))))
    result = kd.export.to_tflite(model, tmp_path / "m.tflite")
    assert [one.name for one in result.inputs] == ["input_1", "input_0", "b"]
    rng = np.random.default_rng(0)
    data = {name: rng.normal(size=(9, n)) for name, n in (("input_1", 4), ("input_0", 3), ("b", 2))}
    assert kd.export.verify(model, result, (data, None)).passed
    left = [keras.Input((4,), name="input_layer_left"), keras.Input((4,), name="x")]
    model = randomise(keras.Model(left, L.Dense(2)(L.Add()(left))))
    names = [one.name for one in kd.export.to_tflite(model, tmp_path / "m.tflite").inputs]
    assert names == ["input_layer_left", "x"]


def test_loops(tmp_path):
    """A loop has graphs of its own beside the one whose inputs and outputs are ordered."""
    tokens, ages = keras.Input((5,), dtype="int32", name="tokens"), keras.Input((2,), name="ages")
    x = L.Concatenate()([L.GRU(3)(L.Embedding(20, 4)(tokens)), ages])
    outputs = {"z": L.Dense(2, name="z")(x), "a": L.Dense(3, name="a")(x)}
    model = randomise(keras.Model([tokens, ages], outputs))
    result = kd.export.to_tflite(model, tmp_path / "m.tflite")
    assert [one.name for one in ModelFile.read(result.path).inputs] == ["tokens", "ages"]
    rng = np.random.default_rng(0)
    data = [rng.integers(0, 20, (9, 5)), rng.normal(size=(9, 2))]
    assert kd.export.verify(model, result, (data, None)).passed


def test_equal_values_per_channel_are_one_normalization(tmp_path):
    """In a quantization-aware model they are the scale and the zero point of its input."""
    three = kd.data.Normalization((0, 0, 0), (255, 255, 255))
    inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(2, 3)(kd.layers.ImageDescription(UNIT)(inputs))
    model = randomise(keras.Model(inputs, L.Dense(2)(L.Flatten()(x))))
    pixels = np.random.default_rng(0).integers(0, 256, (100, 8, 8, 3), "uint8")
    data = kd.data.pipeline(pixels, normalization=three)
    aware = kd.quantize.calibrate(kd.quantize.quantization_aware(model), data)
    for options in ({"calibration": data}, {"preprocessing": three}):
        result = kd.export.to_tflite(aware, tmp_path / "m.tflite", **options)
        given = ModelFile.read(result.path).inputs[0]
        assert given.scales[0] == pytest.approx(1 / 255) and given.zero_points == (0,)
        assert kd.export.verify(aware, result, data).passed
