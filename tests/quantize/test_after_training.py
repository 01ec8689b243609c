from __future__ import annotations

import keras
import numpy as np
import pytest
from planted_faults import examples, int8_file, network, scale_channel

import keras_dlcourse as kd
from keras_dlcourse.quantize.diagnosis.diagnosing import diagnose
from keras_dlcourse.quantize.post_training.after_training import after_training
from keras_dlcourse.quantize.post_training.fixing import apply_fixes
from keras_dlcourse.quantize.post_training.mixed import fewest_in_float


@pytest.fixture(scope="module")
def data() -> np.ndarray:
    return examples()


def test_calibrators_give_up_an_outlying_example(tmp_path, data) -> None:
    model = network()
    outlying = np.concatenate([data, 60 * data[:1]])
    ratios = {}
    for calibrator in ("min_max", "moving_average", "percentile"):
        path = tmp_path / f"{calibrator}.tflite"
        after_training(model, path, outlying, calibrator=calibrator, percentile=99)
        ratios[calibrator] = diagnose(model, path, data).output_sqnr_db
        assert not kd.export.inspect(path).float_islands
    assert ratios["percentile"] > ratios["min_max"] + 5
    assert ratios["moving_average"] > ratios["min_max"] + 5


def test_equalization_repairs_an_outlier_channel(tmp_path, data) -> None:
    model = network()
    scale_channel(model, "stem", "depthwise", channel=3, factor=100)
    plain = diagnose(model, after_training(model, tmp_path / "a.tflite", data), data)
    even = diagnose(model, after_training(model, tmp_path / "b.tflite", data, equalize=True), data)
    assert plain.output_sqnr_db < 10 < 20 < even.output_sqnr_db
    assert even.agreement > plain.agreement


def spoiled() -> keras.Model:
    """A network with one layer that eight bits ruin: a large weight for an input that is always 0.

    The large weight makes the kernel's step so wide that the others round to nothing.
    """
    model = network()
    kernel, bias = model.get_layer("depthwise").get_weights()
    bias[3] = -1000  # behind ReLU this channel is 0
    model.get_layer("depthwise").set_weights([kernel, bias])
    kernel, bias = model.get_layer("middle").get_weights()
    kernel[:, :, 3] = 300
    model.get_layer("middle").set_weights([kernel, bias])
    return model


def test_mixed_leaves_exactly_the_planted_layer_in_float(tmp_path, data) -> None:
    model = spoiled()
    plain = diagnose(model, after_training(model, tmp_path / "a.tflite", data), data)
    assert plain.agreement < 0.9 and plain.worst[0].name == "middle"
    found = fewest_in_float(model, data, 0.95)
    assert found.layers[0] == "middle" and set(found.layers) <= {"middle", "bend"}
    assert found.agreement >= 0.95
    result = after_training(model, tmp_path / "b.tflite", data, mixed=0.95)
    inspected = kd.export.inspect(result)
    # Float barriers around it are float operations too; of layers with a kernel there is one.
    operators = [text.split()[0] for text in inspected.float_islands]
    kernels = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    assert [name for name in operators if name in kernels] == ["CONV_2D"]
    assert diagnose(model, result, data).agreement >= 0.95


def test_mixed_says_when_it_is_not_enough(data) -> None:
    with pytest.raises(ValueError, match="is not reached with 0 layers in float"):
        fewest_in_float(spoiled(), data, 1.0, most=0)
    assert fewest_in_float(network(), data, 0.9).layers == ()


def test_fix_repairs_and_shows_before_and_after(tmp_path, data) -> None:
    model = network()
    scale_channel(model, "stem", "depthwise", channel=3, factor=100)
    path = int8_file(model, tmp_path / "model.tflite", data)
    old = path.read_bytes()
    fixed = apply_fixes(model, diagnose(model, path, data), data)
    assert fixed.path == tmp_path / "model.fixed.tflite" and path.read_bytes() == old
    assert "equalize" in fixed.applied
    assert fixed.before[0] < 10 < 20 < fixed.after[0]
    again = diagnose(model, fixed.path, data)
    assert again.output_sqnr_db == pytest.approx(fixed.after[0], abs=0.1)
    assert "equalize applied" in str(fixed)
    with pytest.raises(
        TypeError, match="model must be a keras.Model, because its layers are modified"
    ):
        apply_fixes(path, diagnose(model, path, data), data)


def test_fix_replaces_no_activation_that_is_better_left(tmp_path, data) -> None:
    model = network("elu")
    path = int8_file(model, tmp_path / "model.tflite", data)
    found = diagnose(model, path, data)
    fixed = apply_fixes(model, found, data, path=tmp_path / "new.tflite")
    assert fixed.path == tmp_path / "new.tflite" and fixed.applied == ()
    assert "needs some training afterwards" in fixed.not_applied[0]


def test_metadata_and_pixels(tmp_path) -> None:
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, activation="relu", name="conv"),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    pixels = np.random.default_rng(0).integers(0, 256, (100, 8, 8, 3), "uint8")
    pipeline = kd.data.pipeline(
        pixels, normalization=kd.data.Normalization(110.0, 60.0), class_names=("a", "b", "c", "d")
    )
    path = after_training(model, tmp_path / "m.tflite", pipeline, calibrator="percentile")
    classifier = kd.edge.ImageClassifier(path)
    assert classifier.labels == ("a", "b", "c", "d")
    assert classifier.model_file.inputs[0].dtype == "uint8"
    assert diagnose(model, path, pipeline).output_sqnr_db > 25


def test_bad_arguments(tmp_path, data) -> None:
    model, path = network(), tmp_path / "m.tflite"
    with pytest.raises(ValueError, match="calibrator must be one of 'min_max'"):
        after_training(model, path, data, calibrator="entropy")
    with pytest.raises(ValueError, match="mixed must be a number above 0"):
        after_training(model, path, data, mixed=98)
    with pytest.raises(TypeError, match=r"must be a keras\.Model"):
        after_training("model.keras", path, data)
    with pytest.raises(ValueError, match="already quantized"):
        after_training(kd.quantize.quantization_aware(model), path, data)
    assert not path.exists()
