"""Cases of layers: fixed filters."""

from __future__ import annotations

import keras_dlcourse as kd
from cases.kinds import LayerCase

LAYERS = (
    *(
        LayerCase(
            layer,
            arguments,
            input_shape=(9, 6, 4),
            output_shape=output_shape,
            suffix=suffix,
            has_weights=False,
            is_composite=False,
        )
        for layer, suffix, arguments, output_shape in (
            (
                kd.layers.DilatedPooling2D,
                "-average",
                {
                    "kind": "average",
                    "pool_size": (3, 3),
                    "dilation_rate": (2, 1),
                    "padding": ((2, 1), (0, 0)),
                },
                (8, 4, 4),
            ),
            (
                kd.layers.DilatedPooling2D,
                "-maximum",
                {
                    "kind": "maximum",
                    "pool_size": (2, 3),
                    "dilation_rate": (2, 2),
                    "padding": ((0, 1), (2, 2)),
                },
                (8, 6, 4),
            ),
            (
                kd.layers.LocalFilter2D,
                "-gaussian",
                {"size": 5, "sigma": 0.7, "padding": "valid"},
                (5, 2, 4),
            ),
            (
                kd.layers.LocalFilter2D,
                "-numbers",
                {"kernel": [[1.0, 2.0], [0.0, -3.0]], "flip": True},
                (9, 6, 4),
            ),
            (
                kd.layers.LocalFilter2D,
                "-sum",
                {"kernel": "sobel_x", "sum_channels": True},
                (9, 6, 1),
            ),
            (kd.layers.RankFilter2D, "-median", {"size": 2}, (9, 6, 4)),
            (kd.layers.RankFilter2D, "-minimum", {"kind": "minimum", "size": 5}, (9, 6, 4)),
            (
                kd.layers.RankFilter2D,
                "-maximum",
                {"kind": "maximum", "padding": "valid"},
                (7, 4, 4),
            ),
        )
    ),
)
