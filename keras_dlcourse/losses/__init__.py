"""Losses for `model.compile(loss=...)`: classes, boxes, embeddings, several tasks, masks."""

from keras_dlcourse._extras import require

require("keras_dlcourse.losses", "tensorflow", "keras")

# Must come first: importing Keras loads the metrics (`_registration`), which import from here.
import keras  # noqa: F401

from keras_dlcourse.losses.classification.sparse_categorical_crossentropy import (
    SparseCategoricalCrossentropy,
)
from keras_dlcourse.losses.classification.tanh_crossentropy import TanhCrossentropy
from keras_dlcourse.losses.classification.tasks import for_task
from keras_dlcourse.losses.classification.weighted_binary_crossentropy import (
    WeightedBinaryCrossentropy,
)
from keras_dlcourse.losses.detection.boxes import (
    CIoULoss,
    DIoULoss,
    GIoULoss,
    IoULoss,
    SmoothL1Loss,
)
from keras_dlcourse.losses.detection.keypoints import KeypointLoss
from keras_dlcourse.losses.detection.quality_focal import QualityFocalLoss
from keras_dlcourse.losses.embedding.contrastive import ContrastiveLoss
from keras_dlcourse.losses.embedding.margin_softmax import ArcFace, CosFace
from keras_dlcourse.losses.embedding.nt_xent import NTXent
from keras_dlcourse.losses.embedding.proxy_anchor import ProxyAnchor
from keras_dlcourse.losses.embedding.supervised_contrastive import SupervisedContrastive
from keras_dlcourse.losses.embedding.triplet import TripletLoss
from keras_dlcourse.losses.multitask.grad_norm import GradNorm
from keras_dlcourse.losses.multitask.multitask_loss import MultitaskLoss
from keras_dlcourse.losses.segmentation.boundary_weights import boundary_weights
from keras_dlcourse.losses.segmentation.dice_crossentropy import DiceCrossentropy
from keras_dlcourse.losses.segmentation.pixel_crossentropy import PixelCrossentropy
from keras_dlcourse.losses.segmentation.pixel_focal_crossentropy import PixelFocalCrossentropy

__all__ = [
    "ArcFace",
    "CIoULoss",
    "ContrastiveLoss",
    "CosFace",
    "DIoULoss",
    "DiceCrossentropy",
    "GIoULoss",
    "GradNorm",
    "IoULoss",
    "KeypointLoss",
    "MultitaskLoss",
    "NTXent",
    "PixelCrossentropy",
    "PixelFocalCrossentropy",
    "ProxyAnchor",
    "QualityFocalLoss",
    "SmoothL1Loss",
    "SparseCategoricalCrossentropy",
    "SupervisedContrastive",
    "TanhCrossentropy",
    "TripletLoss",
    "WeightedBinaryCrossentropy",
    "boundary_weights",
    "for_task",
]
