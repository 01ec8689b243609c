"""The public names of `keras_dlcourse.models`."""

from keras_dlcourse._extras import require

require("keras_dlcourse.models", "tensorflow", "keras", "sklearn", "scipy")

from keras_dlcourse.models._shared.auxiliary import without_auxiliary
from keras_dlcourse.models.classification.alexnet import AlexNet
from keras_dlcourse.models.classification.densenet import (
    DenseNet40x12,
    DenseNet121,
    DenseNet169,
    DenseNet201,
    DenseNetBC100x12,
    DenseNetBC190x40,
)
from keras_dlcourse.models.classification.efficientnet import (
    CompoundScale,
    EfficientNetB0,
    EfficientNetB1,
    EfficientNetB2,
    EfficientNetB3,
    EfficientNetB4,
    EfficientNetB5,
    EfficientNetB6,
    EfficientNetB7,
    EfficientNetLite0,
    EfficientNetLite1,
    EfficientNetLite2,
    EfficientNetLite3,
    EfficientNetLite4,
    compound_scale,
)
from keras_dlcourse.models.classification.googlenet import GoogLeNet
from keras_dlcourse.models.classification.lenet import LeNet5, LeNet5Paper
from keras_dlcourse.models.classification.mobilenet import MobileNet
from keras_dlcourse.models.classification.mobilenet_v2 import MobileNetV2
from keras_dlcourse.models.classification.mobilenet_v3 import (
    MobileNetV3Large,
    MobileNetV3Small,
)
from keras_dlcourse.models.classification.nin import NiNCIFAR10, NiNImageNet
from keras_dlcourse.models.classification.resnet import (
    ResNet18,
    ResNet20CIFAR,
    ResNet32CIFAR,
    ResNet34,
    ResNet44CIFAR,
    ResNet50,
    ResNet56CIFAR,
    ResNet101,
    ResNet110CIFAR,
    ResNet152,
)
from keras_dlcourse.models.classification.resnext import (
    ResNeXt29x8,
    ResNeXt29x16,
    ResNeXt50,
    ResNeXt101,
)
from keras_dlcourse.models.classification.vgg import VGG11, VGG13, VGG16, VGG19
from keras_dlcourse.models.classification.wide_resnet import (
    WideResNet,
    WideResNet16x8,
    WideResNet28x10,
    WideResNet40x4,
)
from keras_dlcourse.models.dense.mlp import MLP
from keras_dlcourse.models.dense.perceptron import Perceptron
from keras_dlcourse.models.heads.embedding import embedding_model
from keras_dlcourse.models.heads.ensemble import ensemble
from keras_dlcourse.models.heads.localizer import keypoint_regressor, localizer
from keras_dlcourse.models.heads.siamese import Siamese
from keras_dlcourse.models.registry import build, names, register
from keras_dlcourse.models.segmentation.fcn import FCN8s, FCN16s, FCN32s, start_from
from keras_dlcourse.models.segmentation.unet import UNet
from keras_dlcourse.models.wrappers._view_results import (
    AugmentationGain,
    AugmentedPrediction,
)
from keras_dlcourse.models.wrappers.augmented_model import AugmentedModel
from keras_dlcourse.models.wrappers.monte_carlo_dropout import (
    MonteCarloDropout,
    MonteCarloPrediction,
)
from keras_dlcourse.models.wrappers.multitask import MultitaskModel
from keras_dlcourse.models.wrappers.views import TestTimeAugmentation

__all__ = [
    "MLP",
    "AlexNet",
    "AugmentedModel",
    "AugmentationGain",
    "AugmentedPrediction",
    "CompoundScale",
    "DenseNet121",
    "DenseNet169",
    "DenseNet201",
    "DenseNet40x12",
    "DenseNetBC100x12",
    "DenseNetBC190x40",
    "EfficientNetB0",
    "EfficientNetB1",
    "EfficientNetB2",
    "EfficientNetB3",
    "EfficientNetB4",
    "EfficientNetB5",
    "EfficientNetB6",
    "EfficientNetB7",
    "EfficientNetLite0",
    "EfficientNetLite1",
    "EfficientNetLite2",
    "EfficientNetLite3",
    "EfficientNetLite4",
    "FCN16s",
    "FCN32s",
    "FCN8s",
    "GoogLeNet",
    "LeNet5",
    "LeNet5Paper",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Large",
    "MobileNetV3Small",
    "MonteCarloDropout",
    "MonteCarloPrediction",
    "MultitaskModel",
    "NiNCIFAR10",
    "NiNImageNet",
    "Perceptron",
    "ResNeXt101",
    "ResNeXt29x16",
    "ResNeXt29x8",
    "ResNeXt50",
    "ResNet101",
    "ResNet110CIFAR",
    "ResNet152",
    "ResNet18",
    "ResNet20CIFAR",
    "ResNet32CIFAR",
    "ResNet34",
    "ResNet44CIFAR",
    "ResNet50",
    "ResNet56CIFAR",
    "Siamese",
    "TestTimeAugmentation",
    "UNet",
    "VGG11",
    "VGG13",
    "VGG16",
    "VGG19",
    "WideResNet",
    "WideResNet16x8",
    "WideResNet28x10",
    "WideResNet40x4",
    "build",
    "compound_scale",
    "embedding_model",
    "ensemble",
    "keypoint_regressor",
    "localizer",
    "names",
    "register",
    "start_from",
    "without_auxiliary",
]
