"""Cases of losses: class masks."""

from __future__ import annotations

import numpy as np

import keras_dlcourse as kd
from cases.kinds import LossCase

_MASKS = np.random.default_rng(1).integers(0, 3, (10, 4, 3)).astype("int32")
_SCORES = np.random.default_rng(2).dirichlet([2.0] * 3, (10, 4, 3)).astype("float32")
_LOGITS = np.random.default_rng(2).normal(size=(10, 4, 3, 3)).astype("float32")
_SINGLE = np.random.default_rng(3).uniform(0.1, 0.9, (10, 4, 3, 1)).astype("float32")

_WEIGHTED = {"class_weight": [0.5, 2.0, 1.0], "ignore": 2}

_INVALID = (
    ({"class_weight": {0: 1.0, 1: 2.0}}, "class_weight.*each class.*0: 1.0"),
    ({"class_weight": [1.0, -1.0, 1.0]}, "class_weight.*at least 0.*-1.0"),
    ({"ignore": 2.5}, "ignore.*2.5"),
    ({"from_logits": 2}, "from_logits.*2"),
)

LOSSES = (
    *(
        case
        for loss, own, invalid in (
            (kd.losses.PixelCrossentropy, {"hardest": 0.6}, ({"hardest": 0}, "hardest.*0")),
            (kd.losses.PixelFocalCrossentropy, {"gamma": 1.5}, ({"gamma": -1}, "gamma.*-1")),
            (kd.losses.DiceCrossentropy, {"dice_weight": 0.5}, ({"dice_weight": -1}, "weight.*-1")),
        )
        for case in (
            LossCase(
                loss,
                {**_WEIGHTED, **own},
                _MASKS,
                _SCORES,
                invalid=(*_INVALID, invalid),
                activation="sigmoid",
            ),
            LossCase(
                loss,
                {"from_logits": True},
                _MASKS[..., None],
                _LOGITS,
                invalid=_INVALID,
                suffix="-logits",
            ),
        )
    ),
    LossCase(
        kd.losses.PixelCrossentropy,
        {"class_weight": [0.5, 2.0]},
        np.where(_MASKS == 2, 255, _MASKS),
        _SINGLE,
        invalid=_INVALID,
        activation="sigmoid",
        suffix="-single",
    ),
)
