"""Cases of layers: outputs."""

from __future__ import annotations

import keras_dlcourse as kd
from cases.kinds import LayerCase

LAYERS = (
    LayerCase(
        kd.layers.CosineDense,
        {"units": 7},
        input_shape=(6, 5, 3),
        output_shape=(6, 5, 7),
        is_composite=False,
    ),
    LayerCase(
        kd.layers.RadialBasisOutput,
        {"units": 5, "seed": 3},
        input_shape=(9, 6, 4),
        output_shape=(9, 6, 5),
        steady={"codes": "they are fixed"},
        is_composite=False,
    ),
)
