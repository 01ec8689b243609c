"""One small classifier, its data, and one file of it for each way of storing numbers."""

from __future__ import annotations

import keras
import pytest
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
