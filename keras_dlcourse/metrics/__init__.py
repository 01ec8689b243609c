"""Measures of what a network does, as Keras metrics: of maps, how well they find the object."""

from keras_dlcourse._extras import require

require("keras_dlcourse.metrics", "tensorflow", "keras")

from keras_dlcourse.metrics.box_overlap import (  # noqa: E402
    BoxAccuracy,
    BoxIoU,
    LocalizationAccuracy,
)
from keras_dlcourse.metrics.calibration import ExpectedCalibrationError  # noqa: E402
from keras_dlcourse.metrics.keypoints import PCK  # noqa: E402
from keras_dlcourse.metrics.max_box_accuracy import MaxBoxAccuracy  # noqa: E402
from keras_dlcourse.metrics.multilabel import MultilabelAveragePrecision  # noqa: E402
from keras_dlcourse.metrics.object_coverage import ObjectCoverage  # noqa: E402
from keras_dlcourse.metrics.pointing_game import PointingGame  # noqa: E402

__all__ = [
    "BoxAccuracy",
    "BoxIoU",
    "ExpectedCalibrationError",
    "LocalizationAccuracy",
    "MaxBoxAccuracy",
    "MultilabelAveragePrecision",
    "ObjectCoverage",
    "PCK",
    "PointingGame",
]
