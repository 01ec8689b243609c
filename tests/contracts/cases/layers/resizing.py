"""Cases of layers: the size of feature maps."""

from __future__ import annotations

import keras_dlcourse as kd
from cases.kinds import LayerCase

LAYERS = (
    LayerCase(
        kd.layers.ResizeConv2D,
        {"filters": 5, "kernel_size": 2, "factor": 3, "interpolation": "nearest"},
        input_shape=(9, 6, 4),
        output_shape=(27, 18, 5),
    ),
    LayerCase(
        kd.layers.PadToMultiple,
        {"multiple": 4},
        input_shape=(9, 6, 4),
        output_shape=(12, 8, 4),
        has_weights=False,
        is_composite=False,
    ),
)
