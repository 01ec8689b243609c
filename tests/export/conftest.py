"""A small classifier and a small detector, their data, and files of them in several forms."""

from __future__ import annotations

import keras
import pytest
from small_detector import LABELS, NORMALIZATION, scenes, small_detector
from small_models import CLASSES, images, small_classifier

import keras_dlcourse as kd


@pytest.fixture(scope="session")
def normalization() -> kd.data.Normalization:
    return kd.data.Normalization(110.0, 70.0)


@pytest.fixture(scope="session")
def classifier() -> keras.Model:
    return small_classifier()


@pytest.fixture(scope="session")
def data(normalization, classifier):
    pixels = images()
    labels = classifier.predict(normalization(pixels), verbose=0).argmax(1)
    return kd.data.pipeline(pixels, labels, normalization=normalization, class_names=CLASSES)


@pytest.fixture(scope="session")
def files(tmp_path_factory, classifier, data):
    """One file for each way of storing numbers."""
    folder = tmp_path_factory.mktemp("files")
    return {
        name: kd.export.to_tflite(
            classifier, folder / f"{name}.tflite", quantization=name, calibration=data
        )
        for name in ("float32", "float16", "dynamic", "int8", "int16x8")
    }


@pytest.fixture(scope="session")
def detector_model() -> keras.Model:
    return small_detector()


@pytest.fixture(scope="session")
def detector_data():
    return kd.data.pipeline(scenes(100, seed=1)[0], normalization=NORMALIZATION)


@pytest.fixture(scope="session")
def detector_files(tmp_path_factory, detector_model, detector_data):
    """A file for each place of the choice among boxes, in floats and in integers."""
    folder = tmp_path_factory.mktemp("detectors")
    forms = {
        "float32": {"score_thresholds": [0.2, 0.3, 0.4]},
        "int8": {},
        "float16 inside": {"nms": "inside"},
        "int8 inside": {"nms": "inside"},
    }
    return {
        name: kd.export.to_tflite(
            detector_model, folder / f"{name}.tflite", quantization=name.split()[0],
            calibration=detector_data, labels=LABELS, **options,
        )
        for name, options in forms.items()
    }  # fmt: skip
