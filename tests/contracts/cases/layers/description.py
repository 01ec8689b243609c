"""Cases of layers: descriptions."""

from __future__ import annotations

import keras_dlcourse as kd
from cases.kinds import LayerCase
from keras_dlcourse.data import Normalization

LAYERS = (
    LayerCase(
        kd.layers.ImageDescription,
        {
            "normalization": Normalization((10.0, 20.0), (3.0, 4.0)),
            "class_names": ("cat", "dög"),
            "score_thresholds": (0.25, 0.75),
        },
        input_shape=(6, 5, 2),
        output_shape=(6, 5, 2),
        has_weights=False,
    ),
)
