"""Keras metrics for localization maps, boxes, keypoints, scores, calibration, masks and objects."""

from keras_dlcourse._extras import require

require("keras_dlcourse.metrics", "tensorflow", "keras")

from keras_dlcourse.metrics._detection_scores import DetectionScores
from keras_dlcourse.metrics.boundary_f1 import boundary_f1
from keras_dlcourse.metrics.box_overlap import (
    BoxAccuracy,
    BoxIoU,
    LocalizationAccuracy,
)
from keras_dlcourse.metrics.calibration import ExpectedCalibrationError
from keras_dlcourse.metrics.instances import InstanceScores, instance_scores
from keras_dlcourse.metrics.keypoints import PCK
from keras_dlcourse.metrics.mask_scores import MaskScores, mask_scores
from keras_dlcourse.metrics.max_box_accuracy import MaxBoxAccuracy
from keras_dlcourse.metrics.mean_average_precision import (
    MeanAveragePrecision,
    mean_average_precision,
)
from keras_dlcourse.metrics.multilabel import MultilabelAveragePrecision
from keras_dlcourse.metrics.object_coverage import ObjectCoverage
from keras_dlcourse.metrics.pointing_game import PointingGame
from keras_dlcourse.metrics.segmentation import SegmentationMetric, SegmentationScores

__all__ = [
    "BoxAccuracy",
    "BoxIoU",
    "DetectionScores",
    "ExpectedCalibrationError",
    "InstanceScores",
    "LocalizationAccuracy",
    "MaskScores",
    "MaxBoxAccuracy",
    "MeanAveragePrecision",
    "MultilabelAveragePrecision",
    "ObjectCoverage",
    "PCK",
    "PointingGame",
    "SegmentationMetric",
    "SegmentationScores",
    "boundary_f1",
    "instance_scores",
    "mask_scores",
    "mean_average_precision",
]
