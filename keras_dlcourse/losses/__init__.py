"""Losses of tasks, and of distances between embeddings, for `model.compile(loss=...)`."""

from keras_dlcourse._extras import require

require("keras_dlcourse.losses", "tensorflow", "keras")

# First of all: Keras brings the metrics in (`_registration`), and these take from the losses.
import keras  # noqa: E402, F401

from keras_dlcourse.losses.boxes import (  # noqa: E402
    CIoULoss,
    DIoULoss,
    GIoULoss,
    IoULoss,
    SmoothL1Loss,
)
from keras_dlcourse.losses.contrastive import ContrastiveLoss  # noqa: E402
from keras_dlcourse.losses.grad_norm import GradNorm  # noqa: E402
from keras_dlcourse.losses.keypoints import KeypointLoss  # noqa: E402
from keras_dlcourse.losses.margin_softmax import ArcFace, CosFace  # noqa: E402
from keras_dlcourse.losses.multitask import MultitaskLoss  # noqa: E402
from keras_dlcourse.losses.nt_xent import NTXent  # noqa: E402
from keras_dlcourse.losses.proxy_anchor import ProxyAnchor  # noqa: E402
from keras_dlcourse.losses.supervised_contrastive import SupervisedContrastive  # noqa: E402
from keras_dlcourse.losses.tanh_crossentropy import TanhCrossentropy  # noqa: E402
from keras_dlcourse.losses.tasks import for_task  # noqa: E402
from keras_dlcourse.losses.triplet import TripletLoss  # noqa: E402
from keras_dlcourse.losses.weighted_binary_crossentropy import (  # noqa: E402
    WeightedBinaryCrossentropy,
)

__all__ = [
    "ArcFace",
    "CIoULoss",
    "ContrastiveLoss",
    "CosFace",
    "DIoULoss",
    "GIoULoss",
    "GradNorm",
    "IoULoss",
    "KeypointLoss",
    "MultitaskLoss",
    "NTXent",
    "ProxyAnchor",
    "SmoothL1Loss",
    "SupervisedContrastive",
    "TanhCrossentropy",
    "TripletLoss",
    "WeightedBinaryCrossentropy",
    "for_task",
]
