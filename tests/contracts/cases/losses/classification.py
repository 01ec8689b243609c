"""Cases of losses: classes and labels."""

from __future__ import annotations

import numpy as np

import keras_dlcourse as kd
from cases.kinds import LossCase

LOSSES = (
    LossCase(
        kd.losses.WeightedBinaryCrossentropy,
        {"positive_weight": [3.0, 0.5, 2.0]},
        (np.random.default_rng(1).random((10, 3)) < 0.5).astype("float32"),
        np.random.default_rng(2).uniform(0.1, 0.9, (10, 3)).astype("float32"),
        invalid=(
            ({"positive_weight": 0}, "positive_weight.*0"),
            ({"from_logits": 2}, "from_logits.*2"),
        ),
        activation="sigmoid",
    ),
    LossCase(
        kd.losses.WeightedBinaryCrossentropy,
        {"from_logits": True},
        (np.random.default_rng(1).random((10, 3)) < 0.5).astype("float32"),
        np.random.default_rng(2).normal(size=(10, 3)).astype("float32"),
        invalid=(({"from_logits": "yes"}, "from_logits.*yes"),),
        suffix="-logits",
    ),
    LossCase(
        kd.losses.SparseCategoricalCrossentropy,
        {"label_smoothing": 0.2},
        np.random.default_rng(1).integers(0, 3, 10).astype("int32"),
        np.random.default_rng(2).dirichlet([1.0] * 3, 10).astype("float32"),
        invalid=(
            ({"label_smoothing": 1.0}, "label_smoothing.*1.0"),
            ({"from_logits": 2}, "from_logits.*2"),
        ),
        activation="softmax",
    ),
    LossCase(
        kd.losses.SparseCategoricalCrossentropy,
        {"label_smoothing": 0.1, "from_logits": True},
        np.random.default_rng(1).integers(0, 3, 10).astype("int32"),
        np.random.default_rng(2).normal(size=(10, 3)).astype("float32"),
        invalid=(({"label_smoothing": "much"}, "label_smoothing.*much"),),
        suffix="-logits",
    ),
    LossCase(
        kd.losses.TanhCrossentropy,
        {"from_logits": True},
        np.random.default_rng(1).choice([-1.0, 1.0], (10, 3)).astype("float32"),
        np.random.default_rng(2).normal(size=(10, 3)).astype("float32"),
        invalid=(({"from_logits": "yes"}, "from_logits.*yes"),),
        suffix="-logits",
    ),
    LossCase(
        kd.losses.TanhCrossentropy,
        {},
        np.random.default_rng(1).choice([-1.0, 1.0], (10, 3)).astype("float32"),
        np.random.default_rng(2).uniform(-0.9, 0.9, (10, 3)).astype("float32"),
        invalid=(({"from_logits": 2}, "from_logits.*2"),),
        activation="tanh",
    ),
)
