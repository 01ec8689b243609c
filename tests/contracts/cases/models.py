"""One case per family of models."""

from __future__ import annotations

import keras_dlcourse as kd
from cases.kinds import ModelCase

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
