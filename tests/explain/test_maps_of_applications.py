"""Networks of keras.applications, plain and nested: maps without naming a layer."""

import keras
import numpy as np
import pytest

from keras_dlcourse.explain import METHODS, GradientMapper

# Each with the size of its images and the layer that is found.
NETWORKS = {
    "MobileNet": (64, "conv_pw_13_relu"),
    "MobileNetV2": (64, "out_relu"),
    "MobileNetV3Small": (64, "activation"),
    "EfficientNetB0": (64, "top_activation"),
    "EfficientNetV2B0": (64, "top_activation"),
    "ResNet50": (64, "conv5_block3_out"),
    "ResNet50V2": (64, "post_relu"),
    "DenseNet121": (64, "relu"),
    "VGG16": (64, "block5_pool"),
    "Xception": (72, "block14_sepconv2_act"),
    "InceptionV3": (96, "mixed7"),
    "ConvNeXtTiny": (64, "add"),
}
# Depthwise convolutions and sums, and convolutions alone; joined branches: test_gradient_maps.py.
EACH_KIND = ("MobileNetV2", "VGG16")
QUICK = {
    "augmented_grad_cam": {"copies": 2, "steps": 5},
    "smooth_grad": {"samples": 2},
    "integrated_gradients": {"steps": 2},
    "occlusion": {"patch": 32, "stride": 32},
}
# The others compute with the same programs; score_cam an image for each of some thousand channels.
PROGRAMS = ["grad_cam", "eigen_cam", "saliency"]
WALKED = [name for name in METHODS if name not in ("cam", "score_cam")]


@pytest.mark.filterwarnings("ignore:the attributions of")  # two steps are few
@pytest.mark.filterwarnings("ignore:the gradient by")  # of fresh weights
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in EACH_KIND else pytest.mark.release)
        for name in NETWORKS
    ],
)
def test_every_method_finds_its_layer(name):
    keras.utils.set_random_seed(0)
    size, layer = NETWORKS[name]
    shape = (size, size, 3)
    plain = getattr(keras.applications, name)(input_shape=shape, weights=None, classes=5)
    given = keras.Input(shape)
    nested = keras.Model(given, plain(keras.layers.Rescaling(1.0)(given)))
    x = np.random.default_rng(0).uniform(0, 255, (2, *shape)).astype("float32")
    for method in WALKED if name == "MobileNetV2" else PROGRAMS:
        options = QUICK.get(method, {})
        ours, inside = (METHODS[method](model, x, [1, 3], **options) for model in (plain, nested))
        assert ours.shape == (2, size, size) and np.isfinite(ours).all(), method
        np.testing.assert_allclose(inside, ours, atol=0.02, err_msg=method)
    # Some layers are numbered by Keras, across all networks.
    assert GradientMapper(plain).probe.place.name.startswith(layer)
    assert GradientMapper(nested).probe.place.name.startswith(f"{plain.name}/{layer}")
    if name in ("MobileNetV3Small", "VGG16", "ConvNeXtTiny"):  # more than one layer at the end
        with pytest.raises(ValueError, match="with_gap_head"):
            METHODS["cam"](plain, x)
    else:
        assert METHODS["cam"](nested, x, [1, 3]).shape == (2, size, size)
