"""Image classifiers, one file a family: a table of its stages, one builder, one source."""

from keras_dlcourse._extras import require

require("keras_dlcourse.models", "tensorflow", "keras")

from keras_dlcourse.models.embedding import embedding_model  # noqa: E402
from keras_dlcourse.models.localizer import keypoint_regressor, localizer  # noqa: E402
from keras_dlcourse.models.mobilenet import MobileNet  # noqa: E402
from keras_dlcourse.models.mobilenet_v2 import MobileNetV2  # noqa: E402
from keras_dlcourse.models.multitask import MultitaskModel  # noqa: E402
from keras_dlcourse.models.registry import build, names, register  # noqa: E402
from keras_dlcourse.models.siamese import Siamese  # noqa: E402

__all__ = [
    "MobileNet",
    "MobileNetV2",
    "MultitaskModel",
    "Siamese",
    "build",
    "embedding_model",
    "keypoint_regressor",
    "localizer",
    "names",
    "register",
]
