"""What can be exported beside a model in memory: `.keras` files and SavedModel folders."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_models import CLASSES, images

import keras_dlcourse as kd
from keras_dlcourse.cli import main
from keras_dlcourse.export.conversion.sources import is_fake_quantized, load_model

NORM = kd.data.Normalization(110.0, 70.0)


class Fake(tf.Module):
    """A network with fake quantization in it, as tensorflow-model-optimization leaves it."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        self.kernel = tf.Variable(rng.normal(0, 0.4, (3, 3, 3, 8)).astype("float32"))
        self.dense = tf.Variable(rng.normal(0, 0.6, (8, 4)).astype("float32"))

    @tf.function(input_signature=[tf.TensorSpec((None, 16, 16, 3), tf.float32, name="pixels")])
    def __call__(self, pixels):
        ranges = tf.quantization.fake_quant_with_min_max_args
        x = ranges(pixels, -2.5, 2.5)  # wider than pixels go
        x = ranges(tf.nn.relu6(tf.nn.conv2d(x, self.kernel, 2, "SAME")), 0, 6)
        x = ranges(tf.reduce_mean(x, [1, 2]), 0, 6)
        x = ranges(tf.matmul(x, ranges(self.dense, -2, 2, narrow_range=True)), -4, 4)
        return {"scores": ranges(tf.nn.softmax(x), 0, 255 / 256)}


@pytest.fixture(scope="module")
def quantized_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "fake"
    module = Fake()
    tf.saved_model.save(module, str(folder), signatures=module.__call__)
    return folder


@pytest.fixture(scope="module")
def float_folder(tmp_path_factory, classifier):
    folder = tmp_path_factory.mktemp("saved") / "plain"
    classifier.export(folder, verbose=False)
    return folder


@pytest.fixture(scope="module")
def pixels():
    return kd.data.pipeline(images(), np.zeros(120, int), normalization=NORM, class_names=CLASSES)


def from_elsewhere(source, target):
    """Copy a `.keras` file whose optimizer is one that only the backend it was saved on has."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                optimizer = config["compile_config"]["optimizer"]
                optimizer["module"] = "keras.src.backend.elsewhere.optimizers.elsewhere_adam"
                content = json.dumps(config).encode()
            new.writestr(name, content)
    return target


class TestKerasFile:
    def test_same_file_as_of_the_model(self, classifier, tmp_path):
        classifier.save(tmp_path / "m.keras")
        of_file, of_model = (
            kd.export.to_tflite(
                source,
                tmp_path / "m.tflite",
                labels=CLASSES,
                preprocessing=kd.data.Normalization.identity(),
            ).path.read_bytes()
            for source in (str(tmp_path / "m.keras"), classifier)
        )
        assert of_file == of_model

    def test_verify_takes_the_path(self, classifier, pixels, tmp_path):
        classifier.save(tmp_path / "m.keras")
        result = kd.export.to_tflite(
            tmp_path / "m.keras",
            tmp_path / "m.tflite",
            preprocessing=kd.data.Normalization.identity(),
        )
        found = kd.export.verify(tmp_path / "m.keras", result, pixels.x[:9].astype("float32"))
        assert found.max_error < 1e-5
        assert found.same_weights

    def test_an_optimizer_of_another_backend_is_not_loaded(self, classifier, tmp_path):
        """Of PyTorch's, Keras 3.15.1 writes a class that is not there without PyTorch."""
        model = keras.models.clone_model(classifier)
        model.set_weights(classifier.get_weights())
        model.compile("adam", "mse")
        model.save(tmp_path / "here.keras")
        path = from_elsewhere(tmp_path / "here.keras", tmp_path / "m.keras")
        with pytest.raises(TypeError, match="elsewhere_adam cannot be imported"):
            keras.saving.load_model(path)
        x = images()[:5].astype("float32")
        np.testing.assert_array_equal(
            load_model(path).predict(x, verbose=0), classifier.predict(x, verbose=0)
        )


class TestSavedModel:
    def test_float32_is_what_the_signature_computes(
        self, float_folder, classifier, tmp_path, pixels
    ):
        result = kd.export.to_tflite(
            float_folder, tmp_path / "m.tflite", labels=CLASSES, preprocessing=NORM
        )
        device = kd.edge.ImageClassifier(result.path)
        assert device.labels == CLASSES
        assert device.model_file.metadata.normalization == NORM
        expected = classifier.predict(NORM(pixels.x[:20]), verbose=0)
        assert expected.std(axis=0).max() > 0.05
        np.testing.assert_allclose(device.scores(pixels.x[:20]), expected, atol=1e-5)

    def test_int8_needs_calibration_where_no_ranges_are_known(self, float_folder, pixels, tmp_path):
        with pytest.raises(ValueError, match="pass calibration="):
            kd.export.to_tflite(float_folder, tmp_path / "m.tflite", quantization="int8")
        result = kd.export.to_tflite(
            float_folder, tmp_path / "m.tflite", quantization="int8", calibration=pixels
        )
        assert kd.export.verify(float_folder, result, pixels).agreement > 0.9

    @pytest.mark.parametrize("dtype", ["uint8", "int8"])
    def test_known_ranges_need_no_calibration(self, quantized_folder, pixels, tmp_path, dtype):
        result = kd.export.to_tflite(
            quantized_folder, tmp_path / "m.tflite", quantization="int8", labels=CLASSES,
            preprocessing=NORM, input_dtype=dtype,
        )  # fmt: skip
        found = kd.export.inspect(result)
        assert found.float_islands == ()
        assert "DEQUANTIZE" not in found.operators
        given = kd.edge.ModelFile.read(result.path).inputs[0]
        # A pixel is stored as it is, though the network learned another range.
        assert given.scales == pytest.approx((1 / 70,))
        assert given.zero_points == (110 if dtype == "uint8" else -18,)
        proof = kd.export.verify(quantized_folder, result, pixels)
        # A step of the logits, 8/255, is up to two of the probabilities, 1/256.
        assert proof.max_error_steps <= 4
        assert proof.mean_error_steps < 0.5
        assert proof.agreement == 1
        assert proof.same_weights
        assert kd.export.preflight(result, ["tflite-micro"])["tflite-micro"].runs == "yes"

    def test_per_channel_normalization(self, quantized_folder, tmp_path):
        """In the graph, on whole pixels."""
        each = kd.data.Normalization((100.0, 110.0, 120.0), (70.0, 60.0, 80.0))
        result = kd.export.to_tflite(
            quantized_folder, tmp_path / "m.tflite", quantization="int8", preprocessing=each
        )
        assert kd.export.inspect(result).float_islands == ()
        data = kd.data.pipeline(images(40), np.zeros(40, int), normalization=each)
        assert kd.export.verify(quantized_folder, result, data).max_error_steps <= 4

    def test_a_saved_model_does_not_say_its_normalization(self, quantized_folder, tmp_path):
        with pytest.raises(ValueError, match="does not record how its pixels were normalized"):
            kd.export.to_tflite(quantized_folder, tmp_path / "m.tflite")

    def test_bundle(self, quantized_folder, tmp_path):
        result = kd.export.to_tflite(
            quantized_folder, tmp_path / "m.tflite", quantization="int8", labels=CLASSES,
            preprocessing=NORM,
        )  # fmt: skip
        assert (kd.export.bundle(result, tmp_path / "pi") / "model.tflite").exists()

    def test_other_weights_are_noticed(self, quantized_folder, float_folder, pixels, tmp_path):
        result = kd.export.to_tflite(float_folder, tmp_path / "m.tflite", preprocessing=NORM)
        assert kd.export.verify(quantized_folder, result, pixels).same_weights is False

    def test_sixteen_bits_are_refused(self, quantized_folder, tmp_path):
        with pytest.raises(ValueError, match="ranges are for 8 bits"):
            kd.export.to_tflite(quantized_folder, tmp_path / "m.tflite", quantization="int16x8")

    def test_which_are_fake_quantized(self, quantized_folder, float_folder, classifier):
        assert is_fake_quantized(load_model(quantized_folder))
        assert not is_fake_quantized(load_model(float_folder))
        assert not is_fake_quantized(classifier)


class TestCommand:
    def test_exports_a_folder(self, quantized_folder, tmp_path, capsys):
        output = tmp_path / "m.tflite"
        words = ["export", str(quantized_folder), "-o", str(output), "--quantization", "int8"]
        assert main([*words, "--mean", "110", "--std", "70"]) == 0
        assert "mean 110" in capsys.readouterr().out
        assert kd.edge.ImageClassifier(output).model_file.inputs[0].zero_points == (110,)
        assert main([*words, "--mean", "110"]) == 2
        assert "--mean and --std must be given together" in capsys.readouterr().err


class TestRefused:
    def test_paths(self, tmp_path):
        (tmp_path / "empty").mkdir()
        for name in ("m.h5", "m.weights.h5", "m.task", "done.tflite"):
            (tmp_path / name).write_bytes(b"x")
        (tmp_path / "m.keras").write_bytes(b"no zip")
        for name, kind, message in (
            ("nowhere", FileNotFoundError, "there is no file"),
            ("empty", ValueError, "folder without saved_model.pb"),
            (
                "m.h5",
                ValueError,
                r"must be a \.keras file.* or a SavedModel folder: load an HDF5 "
                "file of older Keras with keras.models.load_model, and save it again",
            ),
            ("m.weights.h5", ValueError, "it contains only weights; build it"),
            ("m.task", ValueError, "a MediaPipe .task bundle is a zip archive; unzip it"),
            ("done.tflite", ValueError, "a .tflite file is ready for devices"),
            ("m.keras", ValueError, "m.keras"),
        ):
            with pytest.raises(kind, match=message):
                kd.export.to_tflite(tmp_path / name, tmp_path / "m.tflite", preprocessing=NORM)
        with pytest.raises(TypeError, match="Received: int"):
            kd.export.to_tflite(3, tmp_path / "m.tflite", preprocessing=NORM)
        assert not (tmp_path / "m.tflite").exists()

    def test_damaged_saved_model(self, tmp_path):
        (tmp_path / "saved_model.pb").write_bytes(b"damaged" * 9)
        with pytest.raises(kd.export.ExportError, match="cannot be loaded as a SavedModel"):
            kd.export.to_tflite(tmp_path, tmp_path / "m.tflite", preprocessing=NORM)

    def test_signatures(self, tmp_path):
        class Two(tf.Module):
            @tf.function(input_signature=[tf.TensorSpec((None, 4)), tf.TensorSpec((None, 4))])
            def both(self, a, b):
                return {"sum": a + b}

            @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.int32)])
            def whole(self, a):
                return {"same": a}

        module = Two()
        for name, signatures, message in (
            ("none", None, "no signature"),
            (
                "two",
                {"a": module.both, "b": module.whole},
                "signatures a, b, but one called serving",
            ),
            ("inputs", {"serve": module.both}, "2 inputs and 1 outputs"),
            ("integers", {"only": module.whole}, "takes int32"),
        ):
            tf.saved_model.save(module, str(tmp_path / name), signatures=signatures)
            with pytest.raises(kd.export.ExportError, match=message):
                kd.export.to_tflite(tmp_path / name, tmp_path / "m.tflite", preprocessing=NORM)

    def test_open_image_size(self, tmp_path):
        image = keras.Input((None, None, 3))
        model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
        model.export(tmp_path / "open", verbose=False)
        with pytest.raises(kd.export.ExportError, match="dynamic shape"):
            kd.export.to_tflite(tmp_path / "open", tmp_path / "m.tflite", preprocessing=NORM)


def test_other_backends_say_what_to_do(float_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(kd.export.ExportError, match="set KERAS_BACKEND=tensorflow"):
        kd.export.to_tflite(float_folder, tmp_path / "m.tflite")


@pytest.mark.slow
def test_a_process_with_another_backend_says_what_to_do(float_folder, tmp_path):
    pytest.importorskip("jax")
    code = f"""
import keras_dlcourse as kd
try:
    kd.export.to_tflite({str(float_folder)!r}, {str(tmp_path / "m.tflite")!r})
except kd.export.ExportError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=500,
        env={"KERAS_BACKEND": "jax", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert "set KERAS_BACKEND=tensorflow" in done.stdout
