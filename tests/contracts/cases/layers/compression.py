"""Cases of layers: quantization and compression."""

from __future__ import annotations

import keras_dlcourse as kd
from cases.kinds import LayerCase

LAYERS = (
    LayerCase(
        kd.layers.FakeQuantize,
        {"momentum": 0.5},
        input_shape=(6, 5, 2),
        output_shape=(6, 5, 2),
        suffix="-moving-average",
        steady={"observed": "it is 1 from the first batch on"},
        is_composite=False,
        exports=False,  # baked, as a fixed range
    ),
    LayerCase(
        kd.layers.FakeQuantize,
        {"ranges": "learned", "momentum": 0.5},
        input_shape=(6, 5, 2),
        output_shape=(6, 5, 2),
        suffix="-learned",
        steady=dict.fromkeys(("observed", "low", "high"), "the first batch's; factors are trained"),
        is_composite=False,
        exports=False,  # baked, as a fixed range
    ),
    LayerCase(
        kd.layers.FakeQuantize,
        {"ranges": (-1.5, 2.0), "momentum": 0.5, "in_training": False},
        input_shape=(6, 5, 2),
        output_shape=(6, 5, 2),
        suffix="-fixed",
        has_weights=False,
        is_composite=False,
    ),
    LayerCase(
        kd.layers.FloatBarrier,
        {},
        input_shape=(6, 5, 2),
        output_shape=(6, 5, 2),
        has_weights=False,
        is_composite=False,
    ),
    LayerCase(
        kd.layers.RangeBridge,
        {},
        input_shape=(6, 5, 2),
        output_shape=(6, 5, 2),
        has_weights=False,
        is_composite=False,
    ),
)
