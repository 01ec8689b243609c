"""verify sees the difference that is there, and only that."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from small_models import CLASSES, images, small_classifier

import keras_dlcourse as kd


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
    inputs = normalization(images(10, channels))
    assert kd.export.verify(model, path, inputs).max_error < 1e-5


def test_a_wrong_file_is_seen(files, test_data):
    other = small_classifier()
    other.layers[-2].kernel.assign_add(keras.random.normal(other.layers[-2].kernel.shape, seed=0))
    result = kd.export.verify(other, files["float32"], test_data)
    assert result.same_weights is False
    assert result.max_error > 0.01
    assert "other weights" in str(result)


def test_a_wrong_normalization_is_seen(tmp_path, classifier, test_data):
    path = kd.export.to_tflite(
        classifier, tmp_path / "m.tflite", preprocessing=kd.data.Normalization(0.0, 255.0)
    )
    assert kd.export.verify(classifier, path, test_data).max_error > 0.01


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
        with pytest.raises(ValueError, match="do not give it"):
            float32.require(**limit)


def test_one_hot_labels(files, classifier, test_data):
    one_hot = np.eye(len(CLASSES))[test_data.y]
    data = kd.data.take(test_data).inputs, one_hot
    result = kd.export.verify(classifier, files["float32"], data)
    assert result.accuracy == pytest.approx(0.9)


def test_misfits_are_named(files, classifier, test_data, tmp_path):
    with pytest.raises(ValueError, match=r"shape \(8, 8, 3\), but the model takes \(16, 16, 3\)"):
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
