"""Cases of layers: normalization."""

from __future__ import annotations

import keras_dlcourse as kd
from cases.kinds import LayerCase

LAYERS = (
    LayerCase(
        kd.layers.ChannelScale,
        {"use_offset": False},
        input_shape=(6, 5, 2),
        output_shape=(6, 5, 2),
        is_composite=False,
    ),
    LayerCase(
        kd.layers.L2Normalization,
        {"epsilon": 0.01},
        input_shape=(6, 5, 3),
        output_shape=(6, 5, 3),
        has_weights=False,
        is_composite=False,
    ),
    LayerCase(
        kd.layers.FreezingBatchNormalization,
        {"freeze_after": 5},
        input_shape=(6, 5, 2),
        output_shape=(6, 5, 2),
        is_composite=False,
    ),
    LayerCase(
        kd.layers.LocalResponseNormalization,
        {"depth_radius": 1, "bias": 1.0, "alpha": 0.1, "beta": 0.5},
        input_shape=(9, 6, 4),
        output_shape=(9, 6, 4),
        has_weights=False,
        is_composite=False,
    ),
)
