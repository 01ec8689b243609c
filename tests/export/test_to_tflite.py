"""A `.tflite` file computes what Keras computes, and says of itself what is true."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_models import CLASSES, images, randomise, small_classifier

import keras_dlcourse as kd
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.export.conversion.device_model import model_hash

ai_edge = pytest.importorskip("ai_edge_litert.interpreter")


def run(path, inputs):
    """Feed arrays of the input tensor's own type to a bare interpreter, one at a time."""
    interpreter = ai_edge.Interpreter(model_content=Path(path).read_bytes())
    interpreter.allocate_tensors()
    given, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    results = []
    for one in inputs:
        interpreter.set_tensor(given["index"], one[None].astype(given["dtype"]))
        interpreter.invoke()
        result = interpreter.get_tensor(out["index"])[0].astype("float32")
        scale, zero = out["quantization"]
        results.append((result - zero) * scale if scale else result)
    return np.stack(results)


def keras_scores(model, inputs):
    scores = model.predict(inputs, verbose=0)
    assert scores.std(axis=0).max() > 0.05  # else agreement would prove nothing
    return scores


def test_float32_agrees_with_keras(files, classifier, normalization):
    inputs = normalization(images(40, seed=2))
    np.testing.assert_allclose(
        run(files["float32"], inputs), keras_scores(classifier, inputs), atol=1e-5
    )


@pytest.mark.parametrize(
    ("quantization", "tolerance"), [("float16", 3e-3), ("dynamic", 0.06), ("int16x8", 0.06)]
)
def test_smaller_floats_come_near(files, classifier, normalization, quantization, tolerance):
    inputs = normalization(images(40, seed=2))
    scores, expected = run(files[quantization], inputs), keras_scores(classifier, inputs)
    np.testing.assert_allclose(scores, expected, atol=tolerance)
    assert np.abs(scores - expected).max() > 0  # it is another way of storing numbers


def test_int8_takes_pixels_and_comes_near(files, classifier, normalization):
    pixels = images(40, seed=2)
    scores = run(files["int8"], pixels)
    expected = keras_scores(classifier, normalization(pixels))
    assert np.abs(scores - expected).max() < 0.08
    assert (scores.argmax(1) == expected.argmax(1)).mean() > 0.9


@pytest.mark.parametrize("mean", [110.0, 127.5, 0.0, 72.94])
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_every_pixel_is_stored_as_it_is(tmp_path, classifier, mean, dtype):
    """The scale and zero point of the input are the normalization, for all 256 grey levels."""
    normalization = kd.data.Normalization(mean, 70.0)
    data = kd.data.pipeline(images(), np.zeros(120, int), normalization=normalization)
    path = kd.export.to_tflite(
        classifier, tmp_path / "m.tflite", quantization="int8", calibration=data,
        labels=CLASSES, input_dtype=dtype,
    ).path  # fmt: skip
    file = ModelFile.read(path)
    tensor = file.inputs[0]
    levels = np.arange(256)
    stored = levels - (128 if dtype == "int8" else 0)
    real = (stored - tensor.zero_points[0]) * tensor.scales[0]
    np.testing.assert_allclose(real, (levels - mean) / 70, atol=0.5 / 70 + 1e-4)
    if mean == int(mean):
        np.testing.assert_allclose(real, normalization(levels), atol=1e-5)
    # and a reader that goes by the metadata gives each level its own number
    described = file.metadata.normalization
    table = np.round(described(levels) / tensor.scales[0] + tensor.zero_points[0])
    np.testing.assert_array_equal(table, stored)


def test_integer_file_has_integer_operators_only(files):
    assert files["int8"].float_islands == ()
    file = ModelFile.read(files["int8"].path)
    types = {file.tensors[index].dtype for op in file.operators for index in op.outputs}
    assert types == {"int8", "uint8"}
    assert file.inputs[0].dtype == "uint8"
    assert tuple(file.inputs[0].shape) == (1, 16, 16, 3)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "float32"])
def test_int8_types_by_choice(tmp_path, classifier, data, dtype):
    path = kd.export.to_tflite(
        classifier, tmp_path / "m.tflite", quantization="int8", calibration=data,
        input_dtype=dtype, output_dtype=dtype,
    ).path  # fmt: skip
    file = ModelFile.read(path)
    assert {tensor.dtype for tensor in (file.inputs[0], file.outputs[0])} == {dtype}
    image = images(3, seed=2)
    ours = kd.edge.ImageClassifier(path).scores(image)
    expected = classifier.predict(data.normalization(image), verbose=0)
    np.testing.assert_allclose(ours, expected, atol=0.08)


def test_normalization_per_channel_goes_into_the_graph(tmp_path, classifier):
    normalization = kd.data.Normalization((120.0, 90.0, 60.5), (50.0, 60.0, 70.0))
    pixels = images(40, seed=2)
    expected = keras_scores(classifier, normalization(pixels))
    data = kd.data.pipeline(images(), np.zeros(120, int), normalization=normalization)
    for quantization, tolerance in (("float32", 1e-5), ("int8", 0.1)):
        path = kd.export.to_tflite(
            classifier, tmp_path / "m.tflite", quantization=quantization,
            calibration=data, labels=CLASSES, preprocessing=normalization,
        ).path  # fmt: skip
        np.testing.assert_allclose(run(path, pixels), expected, atol=tolerance)
        assert ModelFile.read(path).metadata.normalization == kd.data.Normalization.identity()


def test_rgb_puts_the_conversion_to_grey_inside(tmp_path, normalization):
    model = small_classifier(channels=1)
    pixels = images(40, seed=2)
    grey = pixels @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    expected = keras_scores(model, normalization(grey[..., None]))
    data = kd.data.pipeline(images(channels=1), np.zeros(120, int), normalization=normalization)
    float32 = kd.export.to_tflite(
        model, tmp_path / "f.tflite", labels=CLASSES, preprocessing=normalization, rgb=True
    )
    np.testing.assert_allclose(run(float32, normalization(pixels)), expected, atol=1e-5)
    int8 = kd.export.to_tflite(
        model, tmp_path / "i.tflite", quantization="int8", calibration=data, rgb=True,
        labels=CLASSES,
    )  # fmt: skip
    np.testing.assert_allclose(run(int8, pixels), expected, atol=0.08)
    assert ModelFile.read(int8.path).inputs[0].shape[-1] == 3


def test_a_converter_that_writes_what_nothing_runs_is_an_error(
    tmp_path, classifier, normalization, monkeypatch
):
    """It writes scales that are too small to divide by for layers without any signal."""
    module = importlib.import_module("keras_dlcourse.export.to_tflite")  # hidden by the function
    convert = module.convert
    monkeypatch.setattr(module, "convert", lambda *args, **kwargs: convert(*args, **kwargs)[:-900])
    monkeypatch.setattr(module, "_order_tensors", lambda content, *rest: content)
    with pytest.raises(kd.export.ExportError, match="a file that runtimes cannot run: .*nearly"):
        kd.export.to_tflite(classifier, tmp_path / "model.tflite", preprocessing=normalization)
    assert not list(tmp_path.iterdir())


def test_open_batch(tmp_path, classifier, normalization):
    path = kd.export.to_tflite(
        classifier, tmp_path / "m.tflite", batch=None, preprocessing=normalization
    ).path
    interpreter = ai_edge.Interpreter(model_content=path.read_bytes())
    inputs = normalization(images(5, seed=2))
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], inputs.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], inputs)
    interpreter.invoke()
    scores = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(scores, keras_scores(classifier, inputs), atol=1e-5)


def test_model_is_left_as_it_was(classifier, data, tmp_path):
    before = [w.copy() for w in classifier.get_weights()]
    config = classifier.to_json()
    kd.export.to_tflite(classifier, tmp_path / "m.tflite", quantization="int8", calibration=data)
    for old, new in zip(before, classifier.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert classifier.to_json() == config


def test_same_model_gives_the_same_file(classifier, data, tmp_path):
    paths = [tmp_path / "a.tflite", tmp_path / "b.tflite"]
    for path in paths:
        kd.export.to_tflite(classifier, path, quantization="int8", calibration=data)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_hash_is_of_the_weights(files, classifier):
    assert files["int8"].keras_hash == files["float32"].keras_hash == model_hash(classifier)
    other = keras.models.clone_model(classifier)
    other.set_weights(classifier.get_weights())
    assert model_hash(other) == model_hash(classifier)
    other.weights[0].assign_add(keras.ops.full(other.weights[0].shape, 1e-6))
    assert model_hash(other) != model_hash(classifier)


def test_own_record(files, classifier):
    record = json.loads(ModelFile.read(files["int8"].path).metadata.extra["keras_dlcourse"])
    assert record["quantization"] == "int8"
    assert record["labels"] == list(CLASSES)
    assert record["inputs"] == [
        {
            "name": "",
            "kind": "image",
            "normalization": {"mean": [110.0], "std": [70.0]},
            "rgb": False,
        }
    ]
    assert record["keras_hash"] == model_hash(classifier)
    assert record["created_with"]["keras"] == keras.__version__


class TestWhereThingsComeFrom:
    """Normalization and labels: as said, else as carried by the data, else as recorded."""

    @pytest.fixture
    def recorded(self):
        image = keras.Input((16, 16, 3))
        described = kd.layers.ImageDescription(kd.data.Normalization(1.0, 2.0), list("abcd"))(image)
        return keras.Model(image, small_classifier()(described))

    def test_model(self, recorded, tmp_path):
        result = kd.export.to_tflite(recorded, tmp_path / "m.tflite")
        assert (result.normalization, result.normalization_source) == (
            kd.data.Normalization(1.0, 2.0), "model",
        )  # fmt: skip
        assert result.labels == tuple("abcd")

    def test_said(self, recorded, tmp_path):
        said = kd.data.Normalization(3.0, 4.0)
        result = kd.export.to_tflite(
            recorded, tmp_path / "m.tflite", preprocessing=said, labels=CLASSES
        )
        assert (result.normalization, result.normalization_source) == (said, "preprocessing")
        assert result.labels == CLASSES

    def test_carried(self, files, normalization):
        assert files["int8"].normalization_source == "calibration"
        assert files["int8"].normalization == normalization

    def test_bare_arrays_are_taken_as_normalised(self, classifier, normalization, tmp_path):
        inputs = normalization(images())
        result = kd.export.to_tflite(
            classifier, tmp_path / "m.tflite", quantization="int8", calibration=inputs,
            input_dtype="float32", preprocessing=normalization,
        )  # fmt: skip
        expected = keras_scores(classifier, inputs)
        np.testing.assert_allclose(run(result, inputs), expected, atol=0.08)


class TestKindsOfModel:
    def test_sequential(self, tmp_path):
        layers = keras.layers
        model = randomise(
            keras.Sequential(
                [keras.Input((16, 16, 3)), layers.Conv2D(4, 3, activation="relu"),
                 layers.Flatten(), layers.Dense(3, activation="softmax")]
            )
        )  # fmt: skip
        inputs = images(20).astype("float32") / 255
        path = kd.export.to_tflite(
            model, tmp_path / "m.tflite", preprocessing=kd.data.Normalization.identity()
        ).path
        np.testing.assert_allclose(run(path, inputs), keras_scores(model, inputs), atol=1e-5)

    def test_subclassed(self, tmp_path):
        class Own(keras.Model):
            def __init__(self):
                super().__init__()
                self.convolution = keras.layers.Conv2D(4, 3, activation="relu")
                self.pool = keras.layers.GlobalAveragePooling2D()
                self.scores = keras.layers.Dense(3)

            def call(self, x):
                return self.scores(self.pool(self.convolution(x)))

        model = Own()
        with pytest.raises(ValueError, match="has not been built.*call it once"):
            kd.export.to_tflite(
                model, tmp_path / "m.tflite", preprocessing=kd.data.Normalization.identity()
            )
        inputs = images(20).astype("float32") / 255
        model(inputs)
        randomise(model)
        path = kd.export.to_tflite(
            model,
            tmp_path / "m.tflite",
            labels=["a", "b", "c"],
            preprocessing=kd.data.Normalization.identity(),
        ).path
        np.testing.assert_allclose(run(path, inputs), keras_scores(model, inputs), atol=1e-5)

    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
    def test_mixed_precision_is_exported_in_float32(self, tmp_path, policy):
        keras.config.set_dtype_policy(policy)
        try:
            model = small_classifier()
        finally:
            keras.config.set_dtype_policy("float32")
        twin = small_classifier()
        twin.set_weights(model.get_weights())
        inputs = images(20).astype("float32") / 100
        path = kd.export.to_tflite(
            model, tmp_path / "m.tflite", preprocessing=kd.data.Normalization.identity()
        ).path
        np.testing.assert_allclose(run(path, inputs), keras_scores(twin, inputs), atol=1e-5)
        assert "CAST" not in {op.name for op in ModelFile.read(path).operators}

    def test_no_image(self, tmp_path):
        model = randomise(keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)]))
        inputs = np.random.default_rng(0).normal(size=(10, 6)).astype("float32")
        path = kd.export.to_tflite(model, tmp_path / "m.tflite").path
        np.testing.assert_allclose(run(path, inputs), keras_scores(model, inputs), atol=1e-5)


def test_labels_by_their_numbers(tmp_path):
    """`{"dog": 1, "cat": 0}` gave the dog's name to class 0."""
    model = keras.Sequential([keras.Input((4, 4)), keras.layers.Flatten(), keras.layers.Dense(2)])
    result = kd.export.to_tflite(
        model, tmp_path / "m.tflite", labels={"dog": 1, "cat": 0},
        preprocessing=kd.data.Normalization(127.5, 127.5),
    )  # fmt: skip
    assert result.labels == ("cat", "dog")
    assert ModelFile.read(result.path).metadata.labels == ("cat", "dog")
    # Of (4, 4) the device makes grey images, as the file says what their pixels go through.
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 1), "uint8")
    np.testing.assert_allclose(
        kd.edge.ImageClassifier(result.path).scores(pixels),
        model.predict((pixels[..., 0] - 127.5) / 127.5, verbose=0), atol=1e-5,
    )  # fmt: skip


def test_float_islands_are_named(tmp_path, normalization):
    layers = keras.layers
    image = keras.Input((16, 16, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="elu", name="early")(image))
    model = randomise(keras.Model(image, layers.Dense(4)(x)))
    data = kd.data.pipeline(images(), np.zeros(120, int), normalization=normalization)
    with pytest.warns(UserWarning, match="ELU.*float"):
        result = kd.export.to_tflite(
            model, tmp_path / "m.tflite", quantization="int8", calibration=data, labels=CLASSES
        )
    assert len(result.float_islands) == 1
    assert "ELU" in result.float_islands[0]


class TestRefused:
    """Every refusal names what came and what to do, and leaves the folder as it was."""

    @pytest.fixture(autouse=True)
    def nothing_is_written(self, tmp_path):
        old = tmp_path / "m.tflite"
        old.write_bytes(b"as before")
        yield
        assert old.read_bytes() == b"as before"
        assert [p.name for p in tmp_path.iterdir()] == ["m.tflite"]

    def export(self, tmp_path, model, **arguments):
        return kd.export.to_tflite(model, tmp_path / "m.tflite", **arguments)

    def test_operation_without_a_kernel(self, tmp_path):
        image = keras.Input((16, 16, 3))
        x = keras.layers.Lambda(keras.ops.erfinv, name="strange")(
            keras.layers.Conv2D(2, 3, name="plain")(image)
        )
        with pytest.raises(kd.export.ExportError, match="Erfinv in layer 'strange'.*no builtin"):
            self.export(
                tmp_path, keras.Model(image, x), preprocessing=kd.data.Normalization.identity()
            )

    def test_recurrent_loop(self, tmp_path):
        model = keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(4, name="loop")])
        with pytest.raises(kd.export.ExportError, match="'loop'.*unroll=True"):
            self.export(
                tmp_path, model, quantization="int8", calibration=np.zeros((120, 5, 3), "float32")
            )

    def test_open_size(self, tmp_path):
        image = keras.Input((None, None, 3))
        model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
        with pytest.raises(ValueError, match=r"dynamic shape \(None, None, 3\).*fixed"):
            self.export(tmp_path, model)

    def test_unknown_quantization(self, tmp_path, classifier):
        with pytest.raises(ValueError, match="must be one of 'float32', .*Received: 'int4'"):
            self.export(tmp_path, classifier, quantization="int4")
        with pytest.raises(ValueError, match="quantization must be one of .*Received: ''"):
            self.export(tmp_path, classifier, quantization="")

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"batch": 0}, ValueError, "batch must be an integer of at least 1. Received: 0"),
            ({"batch": 1.0}, TypeError, "batch must be an integer of at least 1. Received: 1.0"),
            ({"rgb": "no"}, TypeError, "rgb must be True or False. Received: 'no'"),
            ({"class_map": 1}, TypeError, "class_map must be True or False. Received: 1"),
            ({"quantization": 8}, TypeError, "quantization must be one of .* Received: 8"),
            ({"output_dtype": 8}, TypeError, "output_dtype must be one of .* Received: 8"),
        ],
    )
    def test_single_arguments(self, tmp_path, classifier, arguments, error, message):
        with pytest.raises(error, match=message):
            self.export(tmp_path, classifier, **arguments)

    def test_types_that_do_not_go_with_it(self, tmp_path, classifier):
        with pytest.raises(ValueError, match="input_dtype must be .*'float32'. Received: 'uint8'"):
            self.export(tmp_path, classifier, input_dtype="uint8")

    def test_rgb_of_a_colour_model(self, tmp_path, classifier):
        with pytest.raises(ValueError, match="rgb=True.*one channel"):
            self.export(tmp_path, classifier, rgb=True)

    def test_labels(self, tmp_path, classifier, normalization):
        def export(labels):
            return self.export(tmp_path, classifier, labels=labels, preprocessing=normalization)

        with pytest.raises(ValueError, match="3 labels, but the model has 4 outputs"):
            export(["a", "b", "c"])
        with pytest.raises(ValueError, match="line break"):
            export(["a", "b", "c", "d\ne"])
        with pytest.raises(TypeError, match="sequence of names"):
            export("abcd")
        with pytest.raises(TypeError, match="Received: a set, which has no order"):
            export({"a", "b", "c", "d"})
        with pytest.raises(ValueError, match="numbers 1, 2, 3, 4"):
            export({n: f"class {n}" for n in (1, 2, 3, 4)})

    def test_preprocessing(self, tmp_path, classifier):
        with pytest.raises(TypeError, match="preprocessing must be a kd.data.Normalization"):
            self.export(tmp_path, classifier, preprocessing=(127.5, 127.5))
        with pytest.raises(ValueError, match="from preprocessing. has 2 channels"):
            self.export(
                tmp_path, classifier, preprocessing=kd.data.Normalization((1.0, 2.0), (1.0, 1.0))
            )

    def test_preprocessing_per_channel_is_for_images(self, tmp_path):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        with pytest.raises(ValueError, match=r"per channel, which is for images.*\(2,\)"):
            self.export(
                tmp_path, model, preprocessing=kd.data.Normalization((1.0, 2.0), (1.0, 1.0))
            )

    def test_no_calibration(self, tmp_path, classifier):
        with pytest.raises(ValueError, match="pass calibration="):
            self.export(tmp_path, classifier, quantization="int8")

    @pytest.mark.parametrize("count", [0, 99])
    def test_too_few_examples(self, tmp_path, classifier, count):
        with pytest.raises(ValueError, match="at least|empty|no "):
            self.export(
                tmp_path, classifier, quantization="int8",
                calibration=np.zeros((count, 16, 16, 3), "float32"),
            )  # fmt: skip

    def test_unnormalised(self, tmp_path, classifier, normalization):
        with pytest.raises(ValueError, match="from 0 to 255.*normalized as in training"):
            self.export(
                tmp_path, classifier, quantization="int8", preprocessing=normalization,
                calibration=np.linspace(0, 255, 120 * 768, dtype="float32").reshape(120, 16, 16, 3),
            )  # fmt: skip

    def test_nan(self, tmp_path, classifier):
        inputs = np.zeros((120, 16, 16, 3), "float32")
        inputs[:, 0, 0, 0] = np.nan
        with pytest.raises(ValueError, match="NaN"):
            self.export(
                tmp_path, classifier, quantization="int8", calibration=inputs,
                preprocessing=kd.data.Normalization.identity(),
            )  # fmt: skip

    def test_single_examples(self, tmp_path, classifier):
        """What `fit` would refuse, too: a dataset that was not batched."""
        images = np.zeros((120, 16, 16, 3), "float32")
        options = {"quantization": "int8", "preprocessing": kd.data.Normalization.identity()}
        for data in (tf.data.Dataset.from_tensor_slices(images), list(images)):
            with pytest.raises(
                ValueError, match=r"\(16, 3\).*single examples.*dataset.batch\(32\)"
            ):
                self.export(tmp_path, classifier, calibration=data, **options)
        labelled = tf.data.Dataset.from_tensor_slices((images, np.zeros(120, "int32")))
        with pytest.raises(
            ValueError, match=r"must be batched.*label of shape \(\).*Batch it first"
        ):
            self.export(tmp_path, classifier, calibration=labelled, **options)
        with pytest.raises(ValueError, match=r"16 examples, of shape \(16, 3\).*in batches"):
            self.export(tmp_path, classifier, calibration=images[0], **options)

    @pytest.mark.filterwarnings("ignore:.*does not have a `quantize` method")
    @pytest.mark.parametrize("mode", ["int8", "float8"])
    def test_quantized_by_keras(self, tmp_path, mode):
        model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2, name="scores")])
        model.quantize(mode)
        with pytest.raises(
            kd.export.ExportError,
            match=f"'scores'.*model.quantize\\('{mode}'\\).*unquantized model",
        ):
            self.export(tmp_path, model, preprocessing=kd.data.Normalization.identity())

    @pytest.mark.parametrize(
        ("layer", "name"),
        [
            (lambda: keras.layers.Lambda(lambda x: keras.ops.reshape(x, (32, 192)), name="rows",
                                         output_shape=(192,)), "layer 'rows' .Lambda."),
            (lambda: lambda x: keras.ops.reshape(x, (32, 192)), "Reshape"),
        ],
    )  # fmt: skip
    def test_reshape_with_a_fixed_batch(self, tmp_path, layer, name):
        image = keras.Input((8, 8, 3), batch_size=32)
        model = keras.Model(image, keras.layers.Dense(2)(layer()(image)))
        with pytest.raises(
            kd.export.ExportError,
            match=rf"{name} of model.*on a batch of 1: Cannot reshape.*write -1",
        ):
            self.export(tmp_path, model, preprocessing=kd.data.Normalization.identity())

    def test_wrong_shape(self, tmp_path, classifier):
        with pytest.raises(
            ValueError, match=r"model's input shape .*Received: .*shape \(8, 8, 3\)"
        ):
            self.export(
                tmp_path, classifier, quantization="int8",
                calibration=np.zeros((120, 8, 8, 3), "float32"),
                preprocessing=kd.data.Normalization.identity(),
            )  # fmt: skip


def test_paths_that_cannot_be_written(tmp_path, classifier):
    with pytest.raises(IsADirectoryError, match="is a folder"):
        kd.export.to_tflite(classifier, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="not a writable folder"):
        kd.export.to_tflite(classifier, tmp_path / "file" / "m.tflite")


@pytest.mark.parametrize("quantization", ["float32", "int8"])
@pytest.mark.parametrize(
    "kernel",
    [
        lambda: keras.layers.Conv2D(4, 3, use_bias=False),
        lambda: keras.layers.DepthwiseConv2D(3, use_bias=False),
        lambda: keras.layers.Conv2DTranspose(4, 3, strides=2, use_bias=False),
    ],
    ids=["full", "depthwise", "transposed"],
)
def test_no_batch_normalization_is_left_in_a_file(kernel, quantization, tmp_path):
    """It would be a multiplication and an addition; what the file says stays as it was."""
    rng = np.random.default_rng(0)
    layers = [keras.Input((8, 8, 3)), kernel(), keras.layers.BatchNormalization()]
    layers += [keras.layers.ReLU(), keras.layers.GlobalAveragePooling2D()]
    model = keras.Sequential([*layers, keras.layers.Dense(3, "softmax")], name="net")
    for weight in model.layers[1].weights:
        weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    data = rng.normal(size=(120, 8, 8, 3)).astype("float32")
    options = {"calibration": data} if quantization == "int8" else {}
    result = kd.export.to_tflite(
        model,
        tmp_path / "m.tflite",
        quantization=quantization,
        **options,
        preprocessing=kd.data.Normalization(127.5, 25.0),
    )
    kinds = set(kd.export.inspect(result.path).operators)
    assert not kinds & {"MUL", "ADD", "SUB", "RSQRT"}
    assert not result.float_islands
    assert result.keras_hash == model_hash(model)  # of the model that was given
