"""Cases of losses: boxes and keypoints."""

from __future__ import annotations

import numpy as np

import keras_dlcourse as kd
from cases.kinds import LossCase

_NO_FORMAT = ({"bounding_box_format": "ltrb"}, "bounding_box_format.*rel_center_xywh.*ltrb")

_FORMAT = {"bounding_box_format": "an argument that has no default"}

_RATIOS_OF_AREAS = {"image_shape": "areas keep their ratios"}

_CONSTANT_FACTOR = "a factor is taken as constant: tests/losses/test_box_losses.py"

_SHAPES = (_NO_FORMAT, ({"image_shape": (0, 5)}, "image_shape.*0, 5"))

# Numbers that half precision holds, and no edge of one kind where there is one of the other.
_TRUE_BOXES, _FOUND_BOXES = (
    (np.random.default_rng(2).integers(20, 38, (2, 10, 4)) + [[[0]], [[0.5]]]) / 64
).astype("float32")

_TRUE_POINTS = np.concatenate([_TRUE_BOXES.reshape(10, 2, 2), np.ones((10, 2, 1))], axis=2).astype(
    "float32"
)

_QUALITY = np.random.default_rng(4).uniform(0.1, 0.9, (10, 3)).astype("float32")
_QUALITY *= np.arange(3) == np.arange(10)[:, None] % 4  # a class, or background
_QUALITY_SCORES = np.random.default_rng(5).uniform(0.1, 0.9, (10, 3)).astype("float32")

_NO_QUALITY = (({"beta": 0.5}, "beta.*0.5"), ({"from_logits": 2}, "from_logits.*2"))


LOSSES = (
    LossCase(
        kd.losses.QualityFocalLoss,
        {"beta": 1.5},
        _QUALITY,
        _QUALITY_SCORES,
        invalid=_NO_QUALITY,
        activation="sigmoid",
    ),
    LossCase(
        kd.losses.QualityFocalLoss,
        {"from_logits": True},
        _QUALITY,
        np.log(_QUALITY_SCORES / (1 - _QUALITY_SCORES)),
        invalid=_NO_QUALITY,
        suffix="-logits",
    ),
    LossCase(
        kd.losses.SmoothL1Loss,
        {"beta": 0.2},
        _TRUE_BOXES,
        _FOUND_BOXES,
        invalid=(({"beta": 0}, "beta.*0"), ({"beta": "small"}, "beta.*small")),
    ),
    LossCase(
        kd.losses.KeypointLoss,
        {"beta": 0.2},
        _TRUE_POINTS,
        _FOUND_BOXES,
        invalid=(({"beta": -1}, "beta.*-1"),),
    ),
    *(
        LossCase(
            loss,
            {"bounding_box_format": "rel_center_xywh", "image_shape": (30, 90)},
            _TRUE_BOXES,
            _FOUND_BOXES,
            invalid=_SHAPES,
            silent={**_FORMAT, **silent},
            held=held,
        )
        for loss, silent, held in (
            (kd.losses.IoULoss, _RATIOS_OF_AREAS, ""),
            (kd.losses.GIoULoss, _RATIOS_OF_AREAS, ""),
            (kd.losses.DIoULoss, {}, ""),
            (kd.losses.CIoULoss, {}, _CONSTANT_FACTOR),
        )
    ),
)
