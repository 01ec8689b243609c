"""A data set of shapes and a network small enough to train in a second."""

from __future__ import annotations

import numpy as np
import pytest


def tiny(
    input_shape,
    alpha=1.0,
    classes=2,
    dropout=0.0,
    preprocessing=None,
    classifier_activation="softmax",
):
    """Build a network that ends as the real ones do, and traces quickly."""
    import keras

    from keras_dlcourse.layers import ImageDescription

    inputs = keras.Input(input_shape)
    x = ImageDescription(preprocessing, classes)(inputs)
    x = keras.layers.Conv2D(round(8 * alpha), 3, strides=2, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = keras.layers.Dense(len(classes), activation=classifier_activation)(x)
    return keras.Model(inputs, outputs, name="tiny")


@pytest.fixture(scope="module", autouse=True)
def tiny_model():
    """Make the network known as `tiny`."""
    from keras_dlcourse.models import registry

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._BUILDERS, "tiny", tiny)
        yield "tiny"


@pytest.fixture(scope="module")
def shapes():
    """Return a function that makes a data set: bars across and bars down, grey or in colour."""

    def make(examples=160, channels=1, names=("<b>across", "down"), batch_size=16):
        from keras_dlcourse.data import Dataset

        def part(n, seed):
            generator = np.random.default_rng(seed)
            labels = np.arange(n) % len(names)
            images = generator.integers(0, 60, (n, 16, 16, channels)).astype("uint8")
            for image, label, place in zip(
                images, labels, generator.integers(2, 14, n), strict=True
            ):
                if label % 2:
                    image[:, place] = 255
                else:
                    image[place] = 255
            return images, labels

        return Dataset.from_parts(
            "shapes", part(examples, 0), part(20, 1), part(30, 2), names, batch_size=batch_size
        )

    return make
