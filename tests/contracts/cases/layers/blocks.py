"""Cases of layers: the building blocks."""

from __future__ import annotations

import keras_dlcourse as kd
from cases.kinds import LayerCase

_CONVOLUTION = {"kernel_size": 5, "bn_momentum": 0.6, "bn_epsilon": 0.02}


LAYERS = (
    LayerCase(
        kd.layers.DepthwiseSeparableConv2D,
        {"filters": 7, "strides": 2, **_CONVOLUTION},
        input_shape=(9, 6, 4),
        output_shape=(5, 3, 7),
    ),
    LayerCase(
        kd.layers.InvertedResidual,
        {"filters": 7, "expansion": 3, "strides": 2, **_CONVOLUTION},
        input_shape=(9, 6, 4),
        output_shape=(5, 3, 7),
        suffix="-strided",
    ),
    LayerCase(
        kd.layers.InvertedResidual,
        {"filters": 4, "expansion": 1, "kernel_size": 5, "bn_momentum": 0.6, "bn_epsilon": 0.02},
        input_shape=(9, 6, 4),
        output_shape=(9, 6, 4),
        suffix="-shortcut-unexpanded",
    ),
    LayerCase(
        kd.layers.ResidualBlock,
        {
            "filters": 8,
            "kind": "bottleneck",
            "width": 6,
            "groups": 2,
            "strides_first": True,
            "use_bias": True,
            "zero_last_gamma": True,
            **_CONVOLUTION,
            "strides": 2,
        },
        input_shape=(9, 6, 4),
        output_shape=(5, 3, 8),
        suffix="-bottleneck",
        either={"bias": "batch normalization takes the mean away: its gradient is 0"},
    ),
    LayerCase(
        kd.layers.ResidualBlock,
        {"filters": 6, "preactivation": True, "dropout": 0.5, "shortcut": "pad", "strides": 2},
        input_shape=(9, 6, 4),
        output_shape=(5, 3, 6),
        suffix="-preactivation-pad",
    ),
    LayerCase(
        kd.layers.ResidualBlock,
        {"filters": 6, "preactivation": True},
        input_shape=(9, 6, 4),
        output_shape=(9, 6, 6),
        suffix="-preactivation-project",
    ),
    LayerCase(
        kd.layers.InvertedResidual,
        {
            "filters": 4,
            "expansion": 1,
            "expanded": 6,
            "activation": "silu",
            "squeeze": 3,
            "squeeze_activation": "silu",
            "gate": "hard_sigmoid",
            "drop_path": 0.5,
        },
        input_shape=(9, 6, 4),
        output_shape=(9, 6, 4),
        suffix="-excited",
    ),
    LayerCase(
        kd.layers.InceptionModule,
        {"filters_1x1": 2, "filters_3x3": (2, 3), "filters_5x5": (3, 4), "filters_pool": 5},
        input_shape=(9, 6, 4),
        output_shape=(9, 6, 14),
    ),
    LayerCase(
        kd.layers.InceptionModule,
        {"filters_1x1": 2, "filters_3x3": 3, "filters_5x5": 4},
        input_shape=(9, 6, 4),
        output_shape=(9, 6, 13),
        suffix="-naive",
    ),
    LayerCase(
        kd.layers.SqueezeExcite,
        {"units": 3, "activation": "silu", "gate": "hard_sigmoid"},
        input_shape=(9, 6, 4),
        output_shape=(9, 6, 4),
    ),
    LayerCase(
        kd.layers.DenseBlock,
        {"repeats": 2, "growth_rate": 3, "bottleneck": False, "dropout": 0.5, **_CONVOLUTION},
        input_shape=(9, 6, 4),
        output_shape=(9, 6, 10),
    ),
    LayerCase(
        kd.layers.DenseBlock,
        {"repeats": 2, "growth_rate": 3},
        input_shape=(9, 6, 4),
        output_shape=(9, 6, 10),
        suffix="-bottleneck",
    ),
    LayerCase(
        kd.layers.DenseTransition,
        {
            "compression": 0.75,
            "strides": 3,
            "dropout": 0.5,
            "bn_momentum": 0.6,
            "bn_epsilon": 0.02,
        },
        input_shape=(9, 6, 4),
        output_shape=(3, 2, 3),
    ),
    LayerCase(
        kd.layers.MLPConv2D,
        {"filters": (5, 3), "kernel_size": 3, "strides": 2, "padding": "valid"},
        input_shape=(9, 6, 4),
        output_shape=(4, 2, 3),
    ),
    LayerCase(
        kd.layers.SparseConnectedConv2D,
        {"connections": [[0, 2], [1], [0, 1, 3]], "kernel_size": 3, "padding": "same"},
        input_shape=(9, 6, 4),
        output_shape=(9, 6, 3),
        is_composite=False,
    ),
)
