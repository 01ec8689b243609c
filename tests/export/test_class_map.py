"""The map in the file is the map in Keras, and the scores are those of the file without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert import interpreter as litert
from ai_edge_litert import schema_py_generated as tflite
from keras import layers
from small_models import CLASSES, images, randomise, small_classifier

import keras_dlcourse as kd
from keras_dlcourse.cli.main import main
from keras_dlcourse.edge import ImageClassifier
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.edge.tflite.quantization import dequantize
from keras_dlcourse.export.conversion.class_map import add_class_map

SIZE, CHANNELS = 16, 24
SCHEMES = ("float32", "float16", "dynamic", "int8", "int16x8")
ROOT = Path(__file__).parents[2]


def features() -> list[layers.Layer]:
    return [
        layers.Conv2D(12, 3, strides=2, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(6.0),
        layers.Conv2D(CHANNELS, 3, padding="same", name="last"),
        layers.ReLU(6.0),
    ]


def stacked(*parts, name: str = "mapped") -> keras.Model:
    x = inputs = keras.Input((SIZE, SIZE, 3))
    for part in parts:
        x = part(x)
    return randomise(keras.Model(inputs, x, name=name), seed=2)


def backbone() -> keras.Model:
    return stacked(*features(), name="backbone")


def gap(**arguments) -> layers.Layer:
    return layers.GlobalAveragePooling2D(**arguments)


def dense(activation: str | None = "softmax") -> layers.Layer:
    return layers.Dense(4, activation=activation, name="scores")


def convolution() -> list[layers.Layer]:
    """The end of keras.applications.MobileNet."""
    return [gap(keepdims=True), layers.Dropout(0.1), layers.Conv2D(4, 1, name="scores"),
            layers.Reshape((4,)), layers.Activation("softmax")]  # fmt: skip


MODELS = {
    "dense": lambda: stacked(*features(), gap(), layers.Dropout(0.2), dense()),
    "convolution": lambda: stacked(*features(), *convolution()),
    "nested": lambda: stacked(backbone(), gap(), dense()),
    "nested twice": lambda: stacked(layers.Identity(), stacked(backbone(), gap(), dense())),
    "sigmoid": lambda: stacked(*features(), gap(), dense("sigmoid")),
    "logits": lambda: stacked(*features(), gap(), dense(None)),
    "maximum": lambda: stacked(*features(), layers.GlobalMaxPooling2D(), dense()),
    "sequential": lambda: randomise(
        keras.Sequential([keras.Input((SIZE, SIZE, 3)), *features(), gap(), dense()]), seed=2
    ),
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory, data):
    """For a model and a scheme: the model, its file with map, and its file without."""
    folder, made = tmp_path_factory.mktemp("maps"), {}

    def pair(name: str, quantization: str = "float32"):
        key = name, quantization
        if key not in made:
            model = MODELS[name]()
            paths = [folder / f"{len(made)}.{with_map}.tflite" for with_map in (True, False)]
            for path, with_map in zip(paths, (True, False), strict=True):
                kd.export.to_tflite(
                    model, path, quantization=quantization, calibration=data, class_map=with_map
                )
            made[key] = model, *paths
        return made[key]

    return pair


def keras_maps(model: keras.Model, inputs: np.ndarray) -> np.ndarray:
    """The maps (n, height, width, classes) as `kd.explain` computes them."""
    classes = model.output_shape[-1]
    maps = kd.explain.cam(model, inputs, [list(range(classes))] * len(inputs), raw=True)
    assert maps.std() > 0.3  # else agreement would prove nothing
    return np.moveaxis(maps, 1, -1)


@pytest.mark.parametrize("name", MODELS)
def test_in_float_the_map_is_that_of_keras(pairs, name, normalization):
    model, mapped, plain = pairs(name)
    pixels = images(10, seed=4)
    scores, maps = ImageClassifier(mapped).run(pixels)
    np.testing.assert_allclose(maps, keras_maps(model, normalization(pixels)), atol=1e-4)
    np.testing.assert_array_equal(scores, ImageClassifier(plain).run(pixels)[0])
    np.testing.assert_allclose(scores, model.predict(normalization(pixels), verbose=0), atol=1e-5)


@pytest.mark.parametrize("name", ["dense", "convolution", "nested", "sigmoid", "maximum"])
def test_in_integers_the_map_is_within_two_steps(pairs, name, normalization):
    model, mapped, plain = pairs(name, "int8")
    pixels = images()  # the calibration's: others may lie outside of the ranges measured on it
    scores, maps = ImageClassifier(mapped).run(pixels)
    step = ModelFile.read(mapped).outputs[1].scales[0]
    expected = keras_maps(model, normalization(pixels))
    errors = np.abs(maps - expected) / step
    # Most of it comes with the feature maps, whose weights were rounded after training.
    assert np.quantile(errors, 0.999) <= 2
    assert 0 < errors.max() <= 3
    assert step < 1.2 * np.ptp(expected) / 255  # steps are as fine as eight bits allow
    np.testing.assert_array_equal(scores, ImageClassifier(plain).run(pixels)[0])
    assert not kd.export.inspect(mapped).float_islands


@pytest.mark.parametrize("name", ["dense", "convolution", "maximum"])
def test_the_integer_map_is_that_of_the_files_own_feature_maps(pairs, name):
    model, mapped, _ = pairs(name, "int8")
    file = ModelFile.read(mapped)
    makers = {index: operator for operator in file.operators for index in operator.outputs}
    maker = makers[file.outputs[1].index]
    if maker.name == "QUANTIZE":  # from int8 to the uint8 of the output
        maker = makers[maker.inputs[0]]
    assert maker.name in ("FULLY_CONNECTED", "CONV_2D")
    last, stored = maker.inputs[0], file.tensors[maker.inputs[1]]
    codes = np.frombuffer(stored.data, stored.dtype).reshape(stored.shape)
    kernel = dequantize(codes, stored).reshape(4, CHANNELS).T
    trained = model.get_layer("scores").kernel.numpy().reshape(CHANNELS, 4)
    assert (np.abs(kernel - trained) <= 0.501 * np.array(stored.scales)).all()
    interpreter = litert.Interpreter(
        model_content=file.content,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]["index"]
    ends = dequantize(np.array([0, 255], "uint8"), file.outputs[1])
    for pixels in images(20):
        interpreter.set_tensor(given, pixels[None])
        interpreter.invoke()
        features = dequantize(interpreter.get_tensor(last), file.tensors[last])
        maps = dequantize(interpreter.get_tensor(file.outputs[1].index), file.outputs[1])
        expected = (features @ kernel).clip(*ends)
        assert np.abs(maps - expected).max() <= 0.51 * file.outputs[1].scales[0]


@pytest.mark.parametrize("quantization", ["float16", "dynamic", "int16x8"])
@pytest.mark.parametrize("name", ["dense", "convolution"])
def test_other_ways_to_store_numbers(pairs, name, quantization, normalization):
    model, mapped, plain = pairs(name, quantization)
    pixels = images(20)
    scores, maps = ImageClassifier(mapped).run(pixels)
    expected = keras_maps(model, normalization(pixels))
    np.testing.assert_allclose(maps, expected, atol=0.02 * np.ptp(expected))
    np.testing.assert_array_equal(scores, ImageClassifier(plain).run(pixels)[0])


def test_the_map_is_the_weighted_sum_of_the_feature_maps(pairs, normalization):
    """Against NumPy, and so without what finds the head in a model."""
    model, mapped, _ = pairs("maximum")
    inputs = normalization(images(3, seed=4))
    maps = ImageClassifier(mapped).run(images(3, seed=4))[1]
    before = keras.Model(model.inputs, model.get_layer("last").output)
    last = np.clip(before.predict(inputs, verbose=0), 0, 6)
    kernel = model.get_layer("scores").kernel.numpy()
    for place in np.ndindex(maps.shape):
        n, y, x, c = place
        assert maps[place] == pytest.approx(sum(last[n, y, x] * kernel[:, c]), abs=1e-4)


@pytest.mark.parametrize("quantization", SCHEMES)
@pytest.mark.parametrize("name", ["dense", "convolution"])
def test_scores_come_first_everywhere(pairs, name, quantization):
    _, mapped, plain = pairs(name, quantization)
    file = ModelFile.read(mapped)
    assert [tensor.shape for tensor in file.outputs] == [(1, 4), (1, 8, 8, 4)]
    assert file.outputs[1].name == "class_map"
    assert file.metadata.outputs == ("scores", "class_map")
    assert ModelFile.read(plain).metadata.outputs == ("scores",)
    content = tflite.ModelT.InitFromPackedBuf(file.content, 0)
    (graph,), (signature,) = content.subgraphs, content.signatureDefs
    named = {entry.name.decode(): entry.tensorIndex for entry in signature.outputs}
    assert list(named) == ["output_0", "class_map"]
    assert list(named.values()) == list(graph.outputs)
    table = str(kd.export.inspect(mapped))
    assert table.index("1x4 ") < table.index(" class_map ")
    record = json.loads(file.metadata.extra["keras_dlcourse"])
    assert record["outputs"] == [
        {"name": "", "kind": "scores"},
        {"name": "class_map", "kind": "class_map"},
    ]


@pytest.mark.parametrize("quantization", SCHEMES)
@pytest.mark.parametrize("name", ["dense", "convolution"])
def test_the_weights_stand_in_the_file_once(pairs, name, quantization):
    _, mapped, plain = pairs(name, quantization)
    sizes = [ModelFile.read(path).sizes["weights"] for path in (mapped, plain)]
    # A bias of zeros an output at most, in int64 for int16x8; a second kernel would be 96 numbers.
    assert sizes[0] - sizes[1] <= 4 * 8 + 4


@pytest.fixture(scope="module")
def aware(data):
    model = kd.quantize.quantization_aware(MODELS["dense"]())
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(data, epochs=2, verbose=0)
    return model


class TestQuantizationAware:
    def test_within_two_steps_of_the_simulation(self, aware, data, tmp_path):
        path = kd.export.to_tflite(
            aware, tmp_path / "m.tflite", calibration=data, class_map=True
        ).path
        plain = kd.export.to_tflite(aware, tmp_path / "plain.tflite", calibration=data).path
        proof = kd.export.verify(aware, path, data)
        assert 0 < proof.max_map_error_steps <= 2
        pixels = images(20, seed=4)
        np.testing.assert_array_equal(
            ImageClassifier(path).run(pixels)[0], ImageClassifier(plain).run(pixels)[0]
        )
        assert not kd.export.inspect(path).float_islands

    def test_a_nested_backbone(self, data, tmp_path):
        model = kd.quantize.quantization_aware(MODELS["nested"]())
        model.compile("sgd", "sparse_categorical_crossentropy")
        model.fit(data, verbose=0)
        path = kd.export.to_tflite(
            model, tmp_path / "m.tflite", calibration=data, class_map=True
        ).path
        assert kd.export.verify(model, path, data).max_map_error_steps <= 2

    def test_the_range_of_the_map_needs_examples(self, aware, normalization, tmp_path):
        with pytest.raises(
            kd.export.ExportError, match="except that of its map. Pass calibration="
        ):
            kd.export.to_tflite(
                aware,
                tmp_path / "m.tflite",
                class_map=True,
                preprocessing=normalization,
            )
        assert not list(tmp_path.iterdir())


class TestMediaPipe:
    @pytest.fixture
    def vision(self):
        pytest.importorskip("mediapipe")
        try:
            from mediapipe.tasks.python import vision
        except (ImportError, OSError) as error:
            pytest.skip(f"MediaPipe needs libgles2, libegl1 and libgl1: {error}")
        return vision

    @pytest.mark.parametrize("quantization", ["float32", "int8"])
    def test_the_first_head_is_that_of_the_plain_file(self, vision, pairs, quantization):
        import mediapipe
        from mediapipe.tasks.python import BaseOptions

        found = []
        for path in pairs("dense", quantization)[1:]:
            options = vision.ImageClassifierOptions(
                BaseOptions(model_asset_buffer=path.read_bytes())
            )
            try:
                classifier = vision.ImageClassifier.create_from_options(options)
            except OSError as error:
                pytest.skip(f"MediaPipe needs libgles2, libegl1 and libgl1: {error}")
            image = mediapipe.Image(
                image_format=mediapipe.ImageFormat.SRGB, data=images(1, seed=4)[0]
            )
            with classifier:
                found.append(classifier.classify(image).classifications)
        mapped, plain = found
        assert mapped[0].categories == plain[0].categories
        assert {category.category_name for category in mapped[0].categories} == set(CLASSES)
        assert [head.head_name for head in mapped] == ["scores", "class_map"]

    def test_the_generated_reader_finds_both_outputs(self, pairs):
        schema = pytest.importorskip("mediapipe.tasks.metadata.metadata_schema_py_generated")
        content = ModelFile.read(pairs("dense")[1]).metadata.extra["TFLITE_METADATA"]
        root = schema.ModelMetadataT.InitFromObj(schema.ModelMetadata.GetRootAs(content, 0))
        scores, maps = root.subgraphMetadata[0].outputTensorMetadata
        assert (scores.name, maps.name) == (b"scores", b"class_map")
        assert scores.associatedFiles[0].name == b"labels.txt"
        assert not maps.associatedFiles
        assert b"height, width, classes" in maps.description


def test_open_batch_rgb_and_normalization_in_the_graph(tmp_path):
    pixels = images(5, channels=1)
    model = small_classifier(channels=1)
    normalization = kd.data.Normalization(90.0, 40.0)
    path = kd.export.to_tflite(
        model, tmp_path / "m.tflite", preprocessing=normalization, rgb=True, batch=None,
        class_map=True,
    ).path  # fmt: skip
    maps = ImageClassifier(path).run(pixels.repeat(3, -1))[1]
    np.testing.assert_allclose(maps, keras_maps(model, normalization(pixels)), atol=1e-3)
    model, pixels = small_classifier(), images(5)
    normalization = kd.data.Normalization((90.0, 80.0, 70.0), (40.0, 50.0, 60.0))
    path = kd.export.to_tflite(
        model, tmp_path / "m.tflite", preprocessing=normalization, class_map=True
    ).path
    maps = ImageClassifier(path).run(pixels)[1]
    np.testing.assert_allclose(maps, keras_maps(model, normalization(pixels)), atol=1e-3)


def test_one_logit_has_one_map(data, tmp_path, normalization):
    model = stacked(*features(), gap(), layers.Dense(1, activation="sigmoid"))
    path = kd.export.to_tflite(
        model, tmp_path / "m.tflite", labels=["yes"], preprocessing=normalization, class_map=True
    ).path
    pixels = images(3, seed=4)
    maps = np.stack([ImageClassifier(path).class_map(one, "yes") for one in pixels])
    expected = kd.explain.cam(model, normalization(pixels), [1, 1, 1], raw=True)
    np.testing.assert_allclose(maps, expected, atol=1e-4)


def test_channels_first_and_half_precision(data, tmp_path):
    x = inputs = keras.Input((3, 9, 7))
    x = layers.Conv2D(5, 3, data_format="channels_first", name="last")(x)
    x = dense()(layers.GlobalMaxPooling2D(data_format="channels_first")(x))
    assert add_class_map(keras.Model(inputs, x)).outputs[1].shape == (None, 7, 5, 4)
    x = inputs = keras.Input((SIZE, SIZE, 3))
    for part in (*features(), gap(), dense()):
        part = type(part).from_config(part.get_config() | {"dtype": "mixed_float16"})
        x = part(x)
    model = randomise(keras.Model(inputs, x), seed=2)
    path = kd.export.to_tflite(
        model, tmp_path / "m.tflite", preprocessing=data.normalization, class_map=True
    ).path
    proof = kd.export.verify(model, path, data)
    assert proof.max_map_error < 0.1  # Keras computes in half precision


class TestVerify:
    def test_the_error_of_the_map_is_measured(self, pairs, data):
        model, mapped, plain = pairs("dense", "int8")
        proof = kd.export.verify(model, mapped, data)
        step = ModelFile.read(mapped).outputs[1].scales[0]
        assert 0 < proof.max_map_error <= 3 * step
        assert proof.max_map_error_steps == pytest.approx(proof.max_map_error / step)
        assert "largest error of the class map" in str(proof)
        without = kd.export.verify(model, plain, data)
        assert (without.max_map_error, without.max_error) == (None, proof.max_error)
        assert "class map" not in str(without)

    def test_another_map_is_found_out(self, pairs, data, tmp_path, monkeypatch):
        """The scores of the model, beside a map whose classes are in another order."""
        model, _, _ = pairs("dense")
        graph = add_class_map(model)
        turned = keras.ops.flip(graph.outputs[1], axis=-1)
        wrong = keras.Model(graph.inputs, [graph.outputs[0], turned])
        # The package's attribute of that name is the function; this is its module.
        monkeypatch.setattr(
            sys.modules["keras_dlcourse.export.to_tflite"], "add_class_map", lambda *_: wrong
        )
        path = kd.export.to_tflite(
            model, tmp_path / "m.tflite", calibration=data, class_map=True
        ).path
        proof = kd.export.verify(model, path, data)
        assert proof.max_error < 1e-5
        assert proof.max_map_error > 1


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (lambda: [layers.Flatten(), dense()], "ends in Dense 'scores' <- Flatten.*with_gap_head"),
        (lambda: [gap(), layers.Dense(8, "relu"), dense()], "only one such layer"),
        (lambda: [gap()], "no layer that turns the averages into class scores"),
    ],
)
def test_other_heads_are_refused_before_anything_is_written(parts, message, tmp_path):
    model = stacked(*features(), *parts())
    with pytest.raises(kd.export.ExportError, match=f"class_map=True is not possible.*{message}"):
        kd.export.to_tflite(
            model,
            tmp_path / "m.tflite",
            class_map=True,
            preprocessing=kd.data.Normalization.identity(),
        )
    assert not list(tmp_path.iterdir())


def test_the_result_says_the_size_of_the_map(pairs, tmp_path):
    model, _, _ = pairs("dense")
    result = kd.export.to_tflite(
        model, tmp_path / "m.tflite", class_map=True, preprocessing=kd.data.Normalization.identity()
    )
    assert result.class_map == (8, 8, 4)
    assert "class map: 8 x 8 for each of 4 classes" in str(result)
    plain = kd.export.to_tflite(
        model, tmp_path / "m.tflite", preprocessing=kd.data.Normalization.identity()
    )
    assert plain.class_map is None
    assert "class map" not in str(plain)


@pytest.mark.skipif(
    "KD_RUNTIME_PYTHON" not in os.environ,
    reason="KD_RUNTIME_PYTHON names no interpreter that has tflite-runtime",
)
@pytest.mark.parametrize("quantization", SCHEMES)
def test_an_older_runtime_gives_the_same_map(pairs, quantization, tmp_path):
    _, mapped, _ = pairs("dense", quantization)
    pixels = images(5, seed=4)
    np.save(tmp_path / "pixels.npy", pixels)
    script = (
        "import sys, numpy as np; from keras_dlcourse.edge import ImageClassifier\n"
        "model, given, out = sys.argv[1:]\n"
        "np.save(out, ImageClassifier(model).run(np.load(given))[1])"
    )
    arguments = [str(mapped), str(tmp_path / "pixels.npy"), str(tmp_path / "maps.npy")]
    subprocess.run(
        [os.environ["KD_RUNTIME_PYTHON"], "-c", script, *arguments],
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    maps = np.load(tmp_path / "maps.npy")
    ours = ImageClassifier(mapped).run(pixels)[1]
    # Integer kernels of the two round differently: a step or two of some feature.
    tolerance = {"float32": 1e-4, "float16": 1e-4, "dynamic": 1e-4}.get(
        quantization, 0.01 * np.ptp(ours)
    )
    np.testing.assert_allclose(maps, ours, atol=tolerance)


class TestCommand:
    def test_export(self, tmp_path, capsys):
        model = MODELS["dense"]()
        model.save(tmp_path / "model.keras")
        target = tmp_path / "mapped.tflite"
        arguments = ["export", str(tmp_path / "model.keras"), "-o", str(target), "--class-map"]
        arguments += ["--mean", "0", "--std", "1"]
        assert main(arguments) == 0
        assert "class map: 8 x 8 for each of 4 classes" in capsys.readouterr().out
        assert ModelFile.read(target).metadata.outputs == ("scores", "class_map")

    def test_sources_for_microcontrollers_give_scores_only(self, tmp_path, capsys):
        arguments = ["export", "model.keras", "-o", str(tmp_path / "firmware"), "--class-map"]
        assert main([*arguments, "--target", "microcontroller", "--calibration", "photos"]) == 2
        assert "--class-map needs --target file" in capsys.readouterr().err
