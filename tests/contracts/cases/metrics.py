"""One case per metric."""

from __future__ import annotations

import numpy as np

import keras_dlcourse as kd
from cases.kinds import MetricCase

_BOXES = np.array([[1, 2, 6, 7], [0, 0, 4, 9], [3, 3, 8, 6]] * 2, "float32")

_MAPS = np.random.default_rng(0).uniform(size=(6, 9, 8)).astype("float32") ** 4

_MAPS[:4, 2:7, 1:6] += 0.6  # where the first box is

_MAPS[[1, 5], 8, 7] = 2.0  # beside the boxes

_POINTS = np.random.default_rng(3).uniform(1, 2, (6, 3, 3)).astype("float32")

_NEAR_BOXES = _BOXES + np.linspace(0, 2, 6, dtype="float32")[:, None] * [0.1, 0.3, 0.2, 0.5]

_NO_FORMAT = ({"bounding_box_format": "ltrb"}, "bounding_box_format.*rel_center_xywh.*ltrb")

METRICS = (
    MetricCase(
        kd.metrics.MaxBoxAccuracy,
        {"iou": 0.3, "thresholds": 7},
        _BOXES,
        _MAPS,
        invalid=(({"iou": 0}, "iou.*0"), ({"thresholds": 2.5}, "thresholds.*2.5")),
        compiles=False,
    ),
    MetricCase(
        kd.metrics.ObjectCoverage,
        {"threshold": 0.4},
        _BOXES,
        _MAPS,
        invalid=(({"threshold": 1.5}, "threshold.*1.5"), ({"threshold": 0.0}, "threshold.*0.0")),
    ),
    MetricCase(
        kd.metrics.PointingGame,
        {"tolerance": 0.5},
        _BOXES,
        _MAPS,
        invalid=(({"tolerance": -1}, "tolerance.*-1"), ({"tolerance": "far"}, "tolerance.*far")),
    ),
    MetricCase(
        kd.metrics.BoxIoU,
        {"bounding_box_format": "center_yxhw"},
        _BOXES,
        _NEAR_BOXES,
        invalid=(_NO_FORMAT,),
    ),
    MetricCase(
        kd.metrics.BoxAccuracy,
        {"bounding_box_format": "center_yxhw", "iou": 0.85},
        _BOXES,
        _NEAR_BOXES,
        invalid=(_NO_FORMAT, ({"iou": 1.5}, "iou.*1.5")),
    ),
    MetricCase(
        kd.metrics.PCK,
        {"threshold": 0.6},
        _POINTS,
        _POINTS[..., :2] + np.linspace(0, 1, 36, dtype="float32").reshape(6, 3, 2),
        invalid=(({"threshold": 0}, "threshold.*0"),),
    ),
    MetricCase(
        kd.metrics.MultilabelAveragePrecision,
        {"classes": 3, "bins": 11},
        (np.random.default_rng(1).random((6, 3)) < 0.5).astype("float32"),
        np.random.default_rng(2).random((6, 3)).astype("float32"),
        invalid=(({"classes": 0}, "classes.*0"), ({"classes": 2, "bins": 0.5}, "bins.*0.5")),
    ),
    MetricCase(
        kd.metrics.ExpectedCalibrationError,
        {"bins": 3},
        np.array([0, 1, 1, 2, 0, 2]),
        np.random.default_rng(6).dirichlet([0.5, 1, 1], 6).astype("float32"),
        invalid=(({"bins": 0}, "bins.*0"),),
    ),
    MetricCase(
        kd.metrics.SegmentationMetric,
        {"classes": 3, "measure": "mean_dice", "ignore": 2, "threshold": 0.25},
        np.random.default_rng(1).integers(0, 3, (6, 4, 3)),
        np.random.default_rng(2).dirichlet([1.0] * 3, (6, 4, 3)).astype("float32"),
        invalid=(
            ({"classes": 0}, "classes.*0"),
            ({"classes": 2, "measure": "iou"}, "measure.*'mean_iou'.*'iou'"),
            ({"classes": 2, "ignore": "void"}, "ignore.*'void'"),
            ({"classes": 2, "threshold": None}, "threshold.*None"),
        ),
    ),
)
