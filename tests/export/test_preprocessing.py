"""What pixels went through in training is known to the file, or nothing is written."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from small_models import CLASSES, images, small_classifier

import keras_dlcourse as kd
from keras_dlcourse.data import Normalization
from keras_dlcourse.export.conversion.entrance import check_learned_range, takes_pixels
from keras_dlcourse.export.conversion.provenance import find_normalization

L = keras.layers
DIVIDED, CENTRED = Normalization(0, 255), Normalization(127.5, 127.5)
RECORDED = Normalization(90, 45)


def behind(*entrance, size: int = 8) -> keras.Model:
    """A convolution and a mean behind the layers and functions given."""
    x = image = keras.Input((size, size, 3))
    for step in entrance:
        x = step(x)
    return keras.Model(image, L.GlobalAveragePooling2D()(L.Conv2D(4, 1)(x)), name="behind")


@pytest.fixture(scope="module")
def aware() -> keras.Model:
    return kd.quantize.quantization_aware(behind())


@pytest.fixture(scope="module")
def recording() -> keras.Model:
    return kd.models.LeNet5((28, 28, 1), classes=list("abc"), preprocessing=RECORDED)


class TestUnknownIsAnError:
    @pytest.mark.parametrize("quantization", ["float32", "int8"])
    def test_arrays_divided_by_255(self, classifier, tmp_path, quantization):
        """A training on NumPy arrays leaves no trace of the division: the file would be wrong."""
        arrays = images().astype("float32") / 255
        with pytest.raises(ValueError) as caught:
            kd.export.to_tflite(
                classifier, tmp_path / "m.tflite", quantization=quantization, calibration=arrays
            )
        for part in (
            "model 'small' does not record how its pixels were normalized in training",
            "preprocessing=kd.data.Normalization(mean, std)",
            "calibration=, a kd.data pipeline that carries it",
            "preprocessing=kd.data.Normalization.identity() if the model takes raw pixels",
        ):
            assert part in str(caught.value)
        assert not list(tmp_path.iterdir())

    def test_each_way_out_is_one(self, classifier, data, normalization):
        def found(model=classifier, preprocessing=None, examples=None):
            recorded = kd.layers.describe(model)
            return find_normalization(model, preprocessing, examples, recorded, (16, 16, 3))

        assert found(preprocessing=DIVIDED) == (DIVIDED, "preprocessing")
        assert found(preprocessing=Normalization.identity())[0] == Normalization.identity()
        assert found(examples=kd.data.take(data, 1)) == (normalization, "calibration")
        recorded = keras.Sequential([kd.layers.ImageDescription(RECORDED), small_classifier()])
        recorded.build((None, 16, 16, 3))
        assert found(recorded) == (RECORDED, "model")
        with pytest.raises(ValueError, match="does not record"):  # nor do whole pixels
            found(examples=kd.data.take(images(), 1))

    def test_data_and_model_that_contradict_each_other(self, data, tmp_path):
        model = keras.Sequential([kd.layers.ImageDescription(RECORDED), small_classifier()])
        model.build((None, 16, 16, 3))
        with pytest.raises(ValueError, match=r"calibration data .*110.*70.*records .*90.*45"):
            kd.export.to_tflite(model, tmp_path / "m.tflite", quantization="int8", calibration=data)

    def test_one_ensemble_takes_pixels_of_one_kind(self):
        members = [kd.models.LeNet5(preprocessing=one) for one in (DIVIDED, CENTRED)]
        with pytest.raises(ValueError, match=r"the same normalization of pixels.*255.*127\.5"):
            kd.models.ensemble(members)


def _adapted(scale: float) -> keras.layers.Layer:
    layer = L.Normalization()
    layer.adapt(images(50, size=8).astype("float32") * scale)
    return layer


def _by_mode(mode: str):
    return lambda x: keras.applications.imagenet_utils.preprocess_input(x, mode=mode)


class TestInsideTheGraph:
    @pytest.mark.parametrize(
        "entrance",
        {
            "divided": [L.Rescaling(1 / 255)],
            "centred": [L.Rescaling(1 / 127.5, -1)],
            "adapted": [lambda x: _adapted(1)(x)],
            "mean only": [L.Rescaling(1.0, -110)],
            "ops": [lambda x: keras.ops.cast(x, "float32") / 255.0],
            "tf": [_by_mode("tf")],
            "torch": [_by_mode("torch")],
            "caffe": [_by_mode("caffe")],
            "augmented": [L.RandomFlip(), L.Dropout(0.1), L.Identity(), L.Rescaling(1 / 255)],
            "nested": [keras.Sequential([L.RandomFlip(), L.Rescaling(1 / 255)])],
            "described": [kd.layers.ImageDescription(class_names=["a"]), L.Rescaling(1 / 255)],
            "application": [
                lambda x: keras.applications.MobileNetV3Small(
                    x.shape[1:], weights=None, include_top=False
                )(x)
            ],
            "several": [
                lambda x: L.Add()([L.Conv2D(3, 1)(L.Rescaling(s)(x)) for s in (0.01, 0.02)])
            ],
        }.items(),
        ids=lambda item: item[0],
    )
    def test_recognised(self, entrance):
        assert takes_pixels(behind(*entrance[1], size=32)) == (True, "")

    @pytest.mark.parametrize(
        ("entrance", "made"),
        [
            ([L.Rescaling(2.0, -1)], "rescaling.* 0 to 255 to values from -1 to 509"),
            ([L.Rescaling(1.0, -0.5)], "from -0.5 to 254.5"),
            ([L.Rescaling(1 / 65535)], "from 0 to 0.00389"),
            ([lambda x: _adapted(1 / 255)(x)], "normalization.*values from"),
            ([L.Normalization()], "from 0 to 255"),
            ([lambda x: x * 2 - 1], "multiply.*subtract.* from -1 to 509"),
        ],
    )
    def test_layers_for_other_numbers_than_pixels(self, entrance, made, tmp_path):
        with pytest.raises(
            ValueError, match=f"does not record.*Its first layers .*{made}.*Pass one"
        ):
            kd.export.to_tflite(behind(*entrance), tmp_path / "m.tflite")

    @pytest.mark.parametrize(
        "entrance",
        [
            [],
            [L.BatchNormalization()],
            [L.Conv2D(3, 1), L.Rescaling(1 / 255)],
            [L.Lambda(lambda x: x / 255)],  # what a function does is not known
            [lambda x: L.Concatenate()([x, L.Rescaling(1 / 255)(x)])],
        ],
    )
    def test_not_recognised(self, entrance):
        assert takes_pixels(behind(*entrance)) == (False, "")

    def test_whole_numbers_are_pixels(self):
        image = keras.Input((8, 8, 3), dtype="uint8")
        model = keras.Model(image, L.Conv2D(2, 3)(keras.ops.cast(image, "float32")))
        assert takes_pixels(model) == (True, "")

    def test_what_is_recorded_before_them_counts(self):
        model = behind(kd.layers.ImageDescription(RECORDED), L.Rescaling(2.0, -1))
        recorded = kd.layers.describe(model)
        assert find_normalization(model, None, None, recorded, (8, 8, 3)) == (RECORDED, "model")

    @pytest.mark.parametrize("step", [L.Rescaling(1 / 255), lambda x: x / 255.0])
    def test_what_is_recorded_behind_them_does_not(self, step):
        model = behind(step, kd.layers.ImageDescription(RECORDED))
        assert kd.layers.describe(model).normalization is None
        assert takes_pixels(model)[0]

    def test_the_file_takes_raw_pixels(self, tmp_path):
        image = keras.Input((16, 16, 3))
        model = keras.Model(image, small_classifier()(L.Rescaling(1 / 60, -2)(image)))
        result = kd.export.to_tflite(model, tmp_path / "m.tflite", labels=CLASSES)
        assert result.normalization_source == "graph"
        assert result.normalization == Normalization.identity()
        assert "pixels: unchanged" in str(result)
        pixels = images(10, seed=3)
        found = kd.edge.ImageClassifier(result.path).scores(pixels)
        expected = model.predict(pixels.astype("float32"), verbose=0)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert np.ptp(expected, axis=0).max() > 0.1


class TestLearnedRange:
    """Of a quantization-aware model the range of the input, against what the file would feed."""

    @staticmethod
    def learned(aware, low, high):
        next(x for x in aware.layers if isinstance(x, kd.layers.FakeQuantize)).set_range(low, high)
        return aware

    @pytest.mark.parametrize(
        ("low", "high", "fed"),
        [
            (0, 1, Normalization.identity()),
            (0, 1, CENTRED),
            (-1, 1, DIVIDED),
            (-1, 1, Normalization.identity()),
            (0, 255, DIVIDED),
            (0, 255, CENTRED),
            (0, 1, Normalization((124, 116, 104), (58, 57, 57))),
        ],
    )
    def test_pixels_that_it_cannot_hold(self, aware, tmp_path, low, high, fed):
        ends = [fed(np.full(len(fed.mean), level)) for level in (0, 255)]
        black, white = f"{ends[0].min():.4g}", f"{ends[1].max():.4g}"
        message = f"trained on inputs from {low} to {high} .* arrive as {black} to {white}. Pass"
        with pytest.raises(ValueError, match=message):
            kd.export.to_tflite(
                self.learned(aware, low, high), tmp_path / "m.tflite", preprocessing=fed
            )

    @pytest.mark.parametrize(
        ("low", "high", "fed"),
        [
            (0, 1, DIVIDED),
            (0.0, 0.3, DIVIDED),  # dark images
            (-0.6, 1, CENTRED),  # black is rare in them
            (-1, -0.4, CENTRED),
            (-1.2, 1.2, CENTRED),  # augmentation goes beyond
            (0, 255, Normalization.identity()),
        ],
    )
    def test_pixels_that_training_did_not_all_reach(self, aware, low, high, fed):
        check_learned_range(self.learned(aware, low, high), fed)

    def test_behind_layers_that_rescale(self):
        aware = kd.quantize.quantization_aware(behind(L.Rescaling(1 / 255)))
        check_learned_range(self.learned(aware, 0, 255), Normalization.identity())
        with pytest.raises(ValueError, match="from 0 to 1 "):
            check_learned_range(self.learned(aware, 0, 1), Normalization.identity())


class TestWhatIsNoImage:
    def test_the_file_says_nothing_of_pixels(self, tmp_path):
        model = keras.Sequential([keras.Input((6,)), L.Dense(3)])
        result = kd.export.to_tflite(model, tmp_path / "m.tflite")
        assert (result.normalization, result.normalization_source) == (None, None)
        assert "pixels" not in str(result)
        file = kd.edge.ModelFile.read(result.path)
        (record,) = json.loads(file.metadata.extra["keras_dlcourse"])["inputs"]
        assert (record["kind"], record["normalization"]) == ("vector", None)
        assert file.metadata.standard and file.metadata.normalization is None
        assert kd.export.inspect(result).normalization is None
        inputs = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")
        assert kd.export.verify(model, result, inputs).max_error < 1e-5

    def test_preprocessing_is_for_images(self, tmp_path):
        model = keras.Sequential([keras.Input((6,)), L.Dense(3)])
        with pytest.raises(ValueError, match=r"from preprocessing. is for the pixels.*\(6,\)"):
            kd.export.to_tflite(model, tmp_path / "m.tflite", preprocessing=DIVIDED)
        # What older files say of models like this.
        said = find_normalization(model, Normalization.identity(), None, None, (6,))
        assert said == (None, None)

    @pytest.mark.parametrize("shape", [(6,), (5, 3), (8, 8, 4), (4, 8, 8, 3)])
    def test_nothing_need_be_known(self, shape):
        assert find_normalization(behind(), None, None, None, shape) == (None, None)


class TestCopiesKeepTheRecord:
    @staticmethod
    def _saved(model):
        import tempfile
        from pathlib import Path

        with tempfile.TemporaryDirectory() as folder:
            model.save(Path(folder) / "m.keras")
            return keras.models.load_model(Path(folder) / "m.keras")

    @pytest.mark.parametrize(
        "copy",
        {
            "clone_model": keras.models.clone_model,
            "keras file": lambda model: TestCopiesKeepTheRecord._saved(model),
            "quantization_aware": lambda model: kd.quantize.quantization_aware(model),
            "prune": lambda model: kd.compress.prune(model, 0.5),
            "strip": lambda model: kd.compress.strip(kd.compress.prune(model, 0.5)),
            "cluster": lambda model: kd.compress.cluster(model, 4),
            "prune_filters": lambda model: kd.compress.prune_filters(model, 0.5),
            "all of it": lambda model: kd.quantize.quantization_aware(
                kd.compress.cluster(kd.compress.prune(model, 0.5), 4)
            ),
            "fold_batch_norm": lambda model: kd.graph.fold_batch_norm(model),
            "dense_as_conv": lambda model: kd.graph.dense_as_conv(model),
            "remove_strides": lambda model: kd.graph.remove_strides(kd.graph.dense_as_conv(model)),
            "ensemble": lambda model: kd.models.ensemble([model, model]),
            "test time": lambda model: (
                kd.models.TestTimeAugmentation(model, ["identity", "flip"]).augmented
            ),
            "temperature": lambda model: kd.training.TemperatureScaling().apply(model),
            "embedding": lambda model: kd.models.embedding_model(
                keras.Model(model.inputs, model.layers[-3].output), 4
            ),
            "localizer": lambda model: kd.models.localizer(
                kd.models.MobileNetV2(
                    (32, 32, 3), alpha=0.1, include_top=False, preprocessing=RECORDED
                ),
                3,
            ),
            "siamese": lambda model: kd.models.Siamese(model),
        }.items(),
        ids=lambda item: item[0],
    )  # fmt: skip
    def test_of(self, recording, copy):
        described = kd.layers.describe(copy[1](recording))
        assert described.normalization == RECORDED

    def test_the_file_of_a_copy_says_it(self, recording, tmp_path):
        aware = kd.quantize.quantization_aware(recording)
        kd.quantize.calibrate(aware, RECORDED(images(100, channels=1, size=28)))
        result = kd.export.to_tflite(aware, tmp_path / "m.tflite")
        assert (result.normalization, result.normalization_source) == (RECORDED, "model")
        assert result.labels == ("a", "b", "c")
        assert result.float_islands == ()
        # Phones and MediaPipe Tasks give RGB, and a pixel is stored as it is.
        tensor = kd.edge.ModelFile.read(result.path).inputs[0]
        assert tensor.shape == (1, 28, 28, 3)
        assert (tensor.zero_points[0], tensor.scales[0]) == (90, pytest.approx(1 / 45))
        pixels = images(20, channels=1, size=28, seed=3)
        found = kd.edge.ImageClassifier(result.path).scores(pixels)
        expected = aware.predict(RECORDED(pixels), verbose=0)
        np.testing.assert_allclose(found, expected, atol=0.06)


def test_a_grey_model_takes_grey_where_asked(tmp_path):
    model = small_classifier(channels=1)
    result = kd.export.to_tflite(
        model, tmp_path / "m.tflite", preprocessing=DIVIDED, rgb=False, labels=CLASSES
    )
    assert kd.edge.ModelFile.read(result.path).inputs[0].shape == (1, 16, 16, 1)
