"""MediaPipe Tasks as a client of the same files: what it says is the reference for metadata."""

from __future__ import annotations

import numpy as np
import pytest
from test_edge_classifier import CALIBRATION
from tflite_files import LABELS, describe

from keras_dlcourse.edge import ImageClassifier


def mediapipe_scores(content: bytes, images: np.ndarray) -> np.ndarray:
    try:
        import mediapipe as mp
        from mediapipe.tasks.python import BaseOptions, vision

        options = vision.ImageClassifierOptions(BaseOptions(model_asset_buffer=content))
        classifier = vision.ImageClassifier.create_from_options(options)
    except (ImportError, OSError) as error:
        pytest.skip(f"mediapipe cannot be loaded here: {error}")
    rows = np.zeros((len(images), len(LABELS)))
    with classifier:
        for row, image in zip(rows, images, strict=True):
            picture = mp.Image(image_format=mp.ImageFormat.SRGB, data=image)
            for category in classifier.classify(picture).classifications[0].categories:
                row[category.index] = category.score
                assert category.category_name == LABELS[category.index]
    return rows


@pytest.mark.parametrize("io_type", ["float32", "uint8"])
def test_same_scores(described, network, io_type):
    images = network.images(10, seed=6)
    content = described(io_type)
    ours, theirs = ImageClassifier(content).scores(images), mediapipe_scores(content, images)
    np.testing.assert_allclose(ours, theirs, atol=1e-5 if io_type == "float32" else 1 / 255)
    assert len({*theirs.argmax(1)}) > 2


@pytest.mark.parametrize("transformation", [0, 1, 2])
def test_same_calibration(plain, network, transformation):
    images = network.images(10, seed=6)
    content = describe(plain(), calibration=(transformation, 0.05, CALIBRATION))
    ours, theirs = ImageClassifier(content).scores(images), mediapipe_scores(content, images)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
