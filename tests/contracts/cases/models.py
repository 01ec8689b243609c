"""One case per family of classifiers, and per form of segmentation network."""

from __future__ import annotations

import keras

import keras_dlcourse as kd
from cases.kinds import ModelCase, SegmenterCase

# Models that other backends load as well, besides all layers: compiling them takes a while.
LOADED_ELSEWHERE = ("lenet5_paper", "mobilenet_v2")

_SMALL = {"input_shape": (28, 28, 1), "classes": 3, "alpha": 0.1}

MODELS = (
    ModelCase("lenet5", kd.models.LeNet5, {**_SMALL, "alpha": 0.5}, 60, stride=4, rounds_up=False),
    ModelCase(
        "lenet5_paper",
        kd.models.LeNet5Paper,
        {**_SMALL, "alpha": 1.0},
        120,
        stride=4,
        rounds_up=False,
        steady=("codes",),
    ),
    ModelCase("alexnet", kd.models.AlexNet, _SMALL, 24, rounds_up=False, least=96),
    ModelCase("vgg11", kd.models.VGG11, _SMALL, 51, rounds_up=False),
    ModelCase("nin_cifar10", kd.models.NiNCIFAR10, _SMALL, 19, stride=4),
    ModelCase("resnet18", kd.models.ResNet18, _SMALL, 51),
    ModelCase("resnet20_cifar", kd.models.ResNet20CIFAR, {**_SMALL, "alpha": 0.5}, 32, stride=4),
    ModelCase("wide_resnet_16_8", kd.models.WideResNet16x8, _SMALL, 51, stride=4),
    ModelCase("resnext29_8x64d", kd.models.ResNeXt29x8, _SMALL, 96, stride=4),
    ModelCase("densenet_40_12", kd.models.DenseNet40x12, _SMALL, 37, stride=4, rounds_up=False),
    ModelCase("googlenet", kd.models.GoogLeNet, _SMALL, 100),
    ModelCase("mobilenet_v3_small", kd.models.MobileNetV3Small, _SMALL, 96),
    ModelCase("efficientnet_b0", kd.models.EfficientNetB0, _SMALL, 128),
    ModelCase(
        "mobilenet",
        kd.models.MobileNet,
        {"input_shape": (28, 28, 1), "alpha": 0.1, "classes": 3, "dropout": 0.5},
        features=102,
    ),
    ModelCase(
        "mobilenet_v2",
        kd.models.MobileNetV2,
        {"input_shape": (28, 28, 1), "alpha": 0.1, "classes": ["a", "b", "c"], "dropout": 0.5},
        features=1280,
    ),
)


def _backbone() -> keras.Model:
    """Return a backbone that is built in no time, of which only strides 2 to 8 have maps."""
    layers = [keras.Input((48, 48, 3))]
    for filters in (4, 6, 8):
        layers += [
            keras.layers.Conv2D(filters, 3, 2, padding="same", use_bias=False),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.ReLU(),
        ]
    return keras.Sequential(layers)


_IMAGES = {"input_shape": (40, 50, 3), "classes": 3}

SEGMENTERS = (
    SegmenterCase(
        kd.models.UNet, {**_IMAGES, "dropout": 0.2}, backbone=_backbone, multiple=8, elsewhere=True
    ),
    SegmenterCase(
        kd.models.UNet,
        {**_IMAGES, "backbone": "plain", "alpha": 0.05},
        suffix="-plain",
        multiple=16,
    ),
    SegmenterCase(
        kd.models.UNet,
        {"input_shape": (188, 204, 1), "backbone": "paper", "classes": 3, "alpha": 0.05},
        suffix="-paper",
        lost=184,
        has_open_size=False,
    ),
    SegmenterCase(kd.models.FCN8s, {**_IMAGES, "alpha": 0.05}, multiple=32),
)
