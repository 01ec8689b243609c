"""Image classifiers, one file a family: a table of its stages, one builder, one source."""

from keras_dlcourse._extras import require

require("keras_dlcourse.models", "tensorflow", "keras", "sklearn", "scipy")

from keras_dlcourse.graph import (  # noqa: E402
    ConvMatrix,
    conv_as_dense_matrix,
    dense_as_conv,
    fold_batch_norm,
)
from keras_dlcourse.graph.profile import LayerProfile, Profile, profile  # noqa: E402
from keras_dlcourse.graph.receptive_field import (  # noqa: E402
    ReceptiveField,
    receptive_field,
)
from keras_dlcourse.models._augmented import (  # noqa: E402
    AugmentationGain,
    AugmentedPrediction,
)
from keras_dlcourse.models.alexnet import AlexNet  # noqa: E402
from keras_dlcourse.models.augmented_model import AugmentedModel  # noqa: E402
from keras_dlcourse.models.densenet import (  # noqa: E402
    DenseNet40x12,
    DenseNet121,
    DenseNet169,
    DenseNet201,
    DenseNetBC100x12,
    DenseNetBC190x40,
)
from keras_dlcourse.models.efficientnet import (  # noqa: E402
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
from keras_dlcourse.models.embedding import embedding_model  # noqa: E402
from keras_dlcourse.models.ensemble import ensemble  # noqa: E402
from keras_dlcourse.models.googlenet import GoogLeNet, without_auxiliary  # noqa: E402
from keras_dlcourse.models.lenet import LeNet5, LeNet5Paper  # noqa: E402
from keras_dlcourse.models.localizer import keypoint_regressor, localizer  # noqa: E402
from keras_dlcourse.models.mlp import MLP  # noqa: E402
from keras_dlcourse.models.mobilenet import MobileNet  # noqa: E402
from keras_dlcourse.models.mobilenet_v2 import MobileNetV2  # noqa: E402
from keras_dlcourse.models.mobilenet_v3 import (  # noqa: E402
    MobileNetV3Large,
    MobileNetV3Small,
)
from keras_dlcourse.models.monte_carlo_dropout import (  # noqa: E402
    MonteCarloDropout,
    MonteCarloPrediction,
)
from keras_dlcourse.models.multitask import MultitaskModel  # noqa: E402
from keras_dlcourse.models.nin import NiNCIFAR10, NiNImageNet  # noqa: E402
from keras_dlcourse.models.perceptron import Perceptron  # noqa: E402
from keras_dlcourse.models.registry import build, names, register  # noqa: E402
from keras_dlcourse.models.resnet import (  # noqa: E402
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
from keras_dlcourse.models.resnext import (  # noqa: E402
    ResNeXt29x8,
    ResNeXt29x16,
    ResNeXt50,
    ResNeXt101,
)
from keras_dlcourse.models.siamese import Siamese  # noqa: E402
from keras_dlcourse.models.test_time_augmentation import TestTimeAugmentation  # noqa: E402
from keras_dlcourse.models.vgg import VGG11, VGG13, VGG16, VGG19  # noqa: E402
from keras_dlcourse.models.wide_resnet import (  # noqa: E402
    WideResNet,
    WideResNet16x8,
    WideResNet28x10,
    WideResNet40x4,
)

__all__ = [
    "MLP",
    "AlexNet",
    "AugmentedModel",
    "AugmentationGain",
    "AugmentedPrediction",
    "CompoundScale",
    "ConvMatrix",
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
    "GoogLeNet",
    "LayerProfile",
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
    "Profile",
    "ReceptiveField",
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
    "conv_as_dense_matrix",
    "dense_as_conv",
    "embedding_model",
    "ensemble",
    "fold_batch_norm",
    "keypoint_regressor",
    "localizer",
    "names",
    "profile",
    "receptive_field",
    "register",
    "without_auxiliary",
]
