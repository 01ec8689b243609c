"""A folder of photos, a network small enough to train in a second, and a run made of both."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from keras_dlcourse.cli import main


def tiny(input_shape, alpha=1.0, classes=2, dropout=0.0, preprocessing=None):
    """Build a network that ends as the real ones do, and traces quickly."""
    import keras

    from keras_dlcourse.layers import ImageDescription

    inputs = keras.Input(input_shape)
    x = ImageDescription(preprocessing, classes)(inputs)
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(len(classes), activation="softmax")(x))


@pytest.fixture(scope="module", autouse=True)
def tiny_model():
    """Make the network known as `tiny`."""
    from keras_dlcourse.models import registry

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._BUILDERS, "tiny", tiny)
        yield "tiny"


def write_shapes(folder, images):
    """Write pictures of bars across and bars down, a folder a class."""
    generator = np.random.default_rng(0)
    for name in ("across", "down & <b>"):
        (folder / name).mkdir(parents=True)
        for number in range(images):
            pixels = generator.integers(0, 60, (24, 32, 3)).astype("uint8")
            place = generator.integers(2, 22)
            pixels[(place, slice(None)) if name == "across" else (slice(None), place)] = 255
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder with a folder of 65 photos for each of two classes."""
    return write_shapes(tmp_path_factory.mktemp("photos") / "shapes", 65)


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory, tiny_model):
    """The folder of a run on the photos."""
    output = tmp_path_factory.mktemp("runs") / "run"
    words = ["train", photos, "--model", tiny_model, "--image-size", "32", "--epochs", "2"]
    assert main([str(word) for word in (*words, "-o", output)]) == 0
    return output
