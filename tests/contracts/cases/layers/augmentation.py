"""Cases of layers: augmentation."""

from __future__ import annotations

import keras_dlcourse as kd
from cases.kinds import LayerCase

LAYERS = (
    LayerCase(
        kd.layers.Superimpose,
        {"weight": (0.1, 0.3), "seed": 3},
        input_shape=(6, 5, 2),
        output_shape=(6, 5, 2),
        has_weights=False,
        is_composite=False,
    ),
    LayerCase(
        kd.layers.DropPixels,
        {"keep": 0.3, "masks": {"mask": 255}, "seed": 3},
        input_shape=(6, 5, 2),
        output_shape=(6, 5, 2),
        has_weights=False,
        is_composite=False,
    ),
    LayerCase(
        kd.layers.ElasticDeformation,
        {
            "stddev": 0.7,
            "points": 4,
            "masks": {"mask": 255},
            "interpolation": "nearest",
            "fill_mode": "reflect",
            "fill_value": 0.5,
            "seed": 3,
        },
        input_shape=(6, 5, 2),
        output_shape=(6, 5, 2),
        has_weights=False,
        is_composite=False,
    ),
    LayerCase(
        kd.layers.RandomAffine,
        {
            "degrees": 20.0,
            "shear": 5.0,
            "scale": (0.8, 1.25),
            "translation": 0.1,
            "horizontal_flip": True,
            "boxes": {"box": "xyxy"},
            "keypoints": {"points": "box"},
            "masks": {"mask": 255},
            "flip_pairs": [(0, 1)],
            "interpolation": "nearest",
            "fill_mode": "reflect",
            "fill_value": 0.5,
            "seed": 3,
        },
        input_shape=(6, 5, 2),
        output_shape=(6, 5, 2),
        has_weights=False,
        is_composite=False,
    ),
)
