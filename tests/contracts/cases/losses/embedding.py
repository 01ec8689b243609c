"""Cases of losses: embeddings."""

from __future__ import annotations

import numpy as np

import keras_dlcourse as kd
from cases.kinds import LossCase

_CLASSES = np.array([0, 1, 0, 2, 1, 1, 2, 0, 0, 3])

_EMBEDDINGS = (np.random.default_rng(0).normal(size=(10, 4)) + 0.5).astype("float32")

_COSINES = np.tanh(np.random.default_rng(1).normal(size=(10, 5))).astype("float32")

_REPLICAS = {"gather": "tests/losses/test_replicas.py"}

_TEMPERATURE = (
    ({"temperature": 0.0}, "temperature.*0.0"),
    ({"temperature": "hot"}, "temperature.*hot"),
    ({"gather": 1}, "gather.*1"),
    ({"reduction": "median"}, "reduction.*median"),
)

_MARGIN = (({"margin": 0}, "margin.*0"), ({"margin": -0.5}, "margin.*-0.5"))


LOSSES = (
    LossCase(
        kd.losses.TripletLoss,
        {
            "margin": 0.4,
            "mining": "hard",
            "distance": "squared",
            "soft": True,
            "gather": False,
        },
        _CLASSES,
        _EMBEDDINGS,
        invalid=(
            *_MARGIN,
            ({"mining": "easy"}, "mining.*'semi_hard'.*None.*'easy'"),
            ({"distance": "manhattan"}, "distance.*'cosine'.*'manhattan'"),
            ({"soft": "yes"}, "soft.*True or False.*'yes'"),
            ({"over": "all"}, "over.*'valid', 'active'.*'all'"),
            ({"gather": None}, "gather.*None"),
        ),
        silent=_REPLICAS,
        suffix="-hard-soft",
    ),
    LossCase(
        kd.losses.TripletLoss,
        {"margin": 0.2, "mining": "all", "distance": "cosine", "over": "active"},
        _CLASSES,
        _EMBEDDINGS,
        invalid=(({"margin": float("inf")}, "margin.*inf"),),
        suffix="-all-active",
    ),
    LossCase(
        kd.losses.TripletLoss,
        {"margin": 0.8},
        _CLASSES,
        _EMBEDDINGS,
        invalid=(({"margin": True}, "margin.*True"),),
        suffix="-semi-hard",
    ),
    LossCase(
        kd.losses.NTXent,
        {"temperature": 0.3, "gather": False},
        _CLASSES,
        _EMBEDDINGS,
        invalid=_TEMPERATURE,
        silent=_REPLICAS,
    ),
    LossCase(
        kd.losses.SupervisedContrastive,
        {"temperature": 0.3, "gather": False},
        _CLASSES,
        _EMBEDDINGS,
        invalid=_TEMPERATURE,
        silent=_REPLICAS,
    ),
    LossCase(
        kd.losses.ArcFace,
        {"margin": 0.3, "scale": 8.0},
        _CLASSES,
        _COSINES,
        invalid=(*_MARGIN, ({"margin": 3.2}, "margin.*3.142.*3.2"), ({"scale": 0}, "scale.*0")),
        activation="tanh",
    ),
    LossCase(
        kd.losses.CosFace,
        {"margin": 0.2, "scale": 8.0},
        _CLASSES,
        _COSINES,
        invalid=(*_MARGIN, ({"margin": 2}, "margin.*2"), ({"scale": -1}, "scale.*-1")),
        activation="tanh",
    ),
    LossCase(
        kd.losses.ProxyAnchor,
        {"margin": 0.2, "alpha": 4.0, "gather": False},
        _CLASSES,
        _COSINES,
        invalid=(*_MARGIN, ({"alpha": 0}, "alpha.*0"), ({"gather": "no"}, "gather.*'no'")),
        activation="tanh",
        silent=_REPLICAS,
    ),
    LossCase(
        kd.losses.ContrastiveLoss,
        {"margin": 0.9, "squared": True, "different": 0},
        _CLASSES % 2,
        np.abs(_EMBEDDINGS[:, :1]),
        invalid=(
            *_MARGIN,
            ({"squared": 2}, "squared.*2"),
            ({"different": 2}, "different.*0, 1.*2"),
            ({"different": True}, "different.*True"),
        ),
        activation="softplus",
    ),
)
