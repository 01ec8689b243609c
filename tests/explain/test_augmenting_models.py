"""Keras's augmentation layers augment whenever they are not told otherwise: here they are told."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from explained_models import SHAPE, body, images, randomised

import keras_dlcourse as kd


@pytest.fixture(scope="module")
def pair():
    """A classifier with augmentation, and the same one without."""

    def build(*augmentation):
        inputs = x = keras.Input(SHAPE)
        for layer in augmentation:
            x = layer(x)
        x = keras.layers.GlobalAveragePooling2D()(body(x))
        return randomised(keras.Model(inputs, keras.layers.Dense(4, "softmax")(x)))

    layers = keras.layers
    augmented = build(
        layers.RandomFlip(), layers.RandomRotation(0.5), layers.RandomErasing(value_range=(0, 1))
    )
    plain = build()
    plain.set_weights([np.array(v) for v in augmented.variables if "seed" not in v.path])
    return augmented, plain


@pytest.mark.parametrize(
    "look",
    [
        kd.explain.grad_cam,
        kd.explain.saliency,
        lambda model, x: kd.explain.augmented_grad_cam(model, x, copies=2, steps=2),
        kd.retrieval.features,
    ],
    ids=["grad_cam", "saliency", "augmented_grad_cam", "features"],
)
def test_what_is_seen_is_inference(pair, look):
    x = images(4)
    augmented, plain = (np.asarray(look(model, x)) for model in pair)
    assert np.ptp(plain) > 0
    np.testing.assert_allclose(augmented, plain, rtol=1e-4, atol=1e-5)
