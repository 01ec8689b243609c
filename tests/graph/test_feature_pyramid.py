"""Feature maps of each scale: those after which a backbone computes at half the resolution."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_dlcourse as kd

L = keras.layers


def _shapes(model, **options):
    pyramid = kd.graph.feature_pyramid(model, **options)
    return {name: tuple(maps.shape[1:]) for name, maps in pyramid.output.items()}


# The names of the layers were read off the models' summaries.
APPLICATIONS = {
    "ResNet50": ("conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out"),
    "MobileNetV2": (
        "block_3_expand_relu", "block_6_expand_relu", "block_13_expand_relu", "out_relu",
    ),
    "InceptionV3": (None, "mixed2", "mixed7", "mixed10"),
    "DenseNet121": ("pool2_conv", "pool3_conv", "pool4_conv", "relu"),
    "EfficientNetB0": (
        "block3a_expand_activation", "block4a_expand_activation",
        "block6a_expand_activation", "top_activation",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", APPLICATIONS)
@pytest.mark.parametrize("size", [299, None])
def test_maps_of_keras_applications(name, size):
    model = getattr(keras.applications, name)(
        include_top=False, weights=None, input_shape=(size, size, 3)
    )
    expected = dict(zip((4, 8, 16, 32), APPLICATIONS[name], strict=True))
    expected = {stride: layer for stride, layer in expected.items() if layer}
    pyramid = kd.graph.feature_pyramid(model, tuple(expected))
    for stride, layer in expected.items():
        maps = pyramid.output[f"P{stride.bit_length() - 1}"]
        assert maps._keras_history.operation is model.get_layer(layer)


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("resnet18", (64, 128, 256, 512)),
        ("mobilenet_v2", (24, 32, 96, 1280)),
        ("mobilenet", (128, 256, 512, 1024)),
        ("vgg11", (256, 512, 512, 512)),
        ("googlenet", (192, 480, 832, 1024)),
        ("efficientnet_lite0", (24, 40, 112, 1280)),
    ],
)
def test_maps_of_our_families(name, stages):
    model = kd.models.build(name, input_shape=(96, 96, 3), classes=2, weights=None)
    assert _shapes(model) == {
        f"P{level}": (96 >> level, 96 >> level, channels)
        for level, channels in zip((2, 3, 4, 5), stages, strict=True)
    }


def test_a_branch_is_not_taken():
    x = inputs = keras.Input((16, 16, 3))
    x = L.Conv2D(4, 3, strides=4, padding="same", name="stem")(x)
    wide = L.Conv2D(8, 1, name="branch")(x)
    joined = L.Concatenate(name="joined")([x, wide])
    down = L.Conv2D(2, 3, strides=2, padding="same")(L.Conv2D(5, 1, name="narrow")(joined))
    pooled = L.MaxPooling2D(2)(joined)
    x = L.Concatenate(name="end")([down, pooled])
    model = keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling2D()(x)))
    assert _shapes(model, strides=(4, 8)) == {"P2": (4, 4, 12), "P3": (2, 2, 14)}


def test_nested_backbones_and_weights_are_shared():
    inner = kd.models.ResNet18((96, 96, 3), alpha=0.1, include_top=False)
    inputs = keras.Input((96, 96, 3))
    model = keras.Model(inputs, L.Dense(2)(L.GlobalMaxPooling2D()(inner(inputs))))
    pyramid = kd.graph.feature_pyramid(model)
    image = np.random.default_rng(0).normal(size=(1, 96, 96, 3)).astype("float32")
    before = pyramid.predict(image, verbose=0)
    np.testing.assert_allclose(before["P5"], inner.predict(image, verbose=0), atol=1e-5)
    weight = inner.weights[0]
    weight.assign(weight * 2)
    assert np.abs(pyramid.predict(image, verbose=0)["P2"] - before["P2"]).max() > 1e-3


def test_it_can_be_trained():
    x = inputs = keras.Input((16, 16, 3))
    for _ in range(2):
        x = L.BatchNormalization()(L.Conv2D(4, 3, 2, padding="same")(x))
    pyramid = kd.graph.feature_pyramid(keras.Model(inputs, x), (2, 4))
    for layer in pyramid.layers:
        for node in layer._inbound_nodes:
            assert node.arguments.kwargs.get("training") is None, layer.name


def test_errors_say_what_there_is():
    model = kd.models.LeNet5((28, 28, 1), classes=3)
    with pytest.raises(ValueError, match=r"no feature maps with a stride of 32.*Choose strides="):
        kd.graph.feature_pyramid(model, (32,))
    for strides, message in [
        ((), "distinct powers"),
        ((4, 4), "distinct powers"),
        ((6,), "powers of 2. Received: 6"),
        ((0,), "an integer of at least 1. Received: 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            kd.graph.feature_pyramid(model, strides)
    with pytest.raises(TypeError, match="Received: True"):
        kd.graph.feature_pyramid(model, (True,))
    with pytest.raises(TypeError):
        kd.graph.feature_pyramid("model")
