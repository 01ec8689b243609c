"""One row for each public part: what the contract checks need in order to run on it.

A new layer, model or callback is checked by adding its row here, and only then passes
`test_walk.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_dlcourse as kd
from keras_dlcourse.data import Normalization


@dataclass(frozen=True)
class LayerCase:
    """A layer and arguments for it.

    Attributes:
        layer: The class.
        arguments: Every argument of its `__init__`, none at its default.
        input_shape: Without the batch; more than one channel, and height unlike width.
        output_shape: What must come out, without the batch.
        suffix: Tells two cases of one layer apart.
        has_weights: Whether it has weights.
        steady: Weights that a training step leaves as they are, by name, with the reason.
        is_composite: Whether it is made of other layers, into which its `call` can be opened.
        exports: Whether it is exported as it is, and not baked into another layer first.
    """

    layer: type[keras.layers.Layer]
    arguments: dict[str, Any]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    suffix: str = ""
    has_weights: bool = True
    steady: dict[str, str] = field(default_factory=dict)
    is_composite: bool = True
    exports: bool = True

    @property
    def id(self) -> str:
        return self.layer.__name__ + self.suffix


@dataclass(frozen=True)
class ModelCase:
    """A family of models.

    Attributes:
        name: In `kd.models.names()`.
        builder: The function.
        small: Arguments that make a model small enough for many checks.
        features: Channels of the last feature map of the small model.
    """

    name: str
    builder: Callable[..., keras.Model]
    small: dict[str, Any]
    features: int

    @property
    def id(self) -> str:
        return self.name


@dataclass(frozen=True)
class CallbackCase:
    """A callback for `model.fit`.

    Attributes:
        callback: The class.
        make: Called with an empty folder and the images `fit` gets; returns a new callback.
        invalid: Arguments that `__init__` must refuse, each with what its message must hold.
        required: Arguments without a default, for the `invalid` calls.
        has_state: Whether it has `state_dict` and `load_state_dict`.
    """

    callback: type[keras.callbacks.Callback]
    make: Callable[[Path, np.ndarray], keras.callbacks.Callback]
    invalid: tuple[tuple[dict[str, Any], str], ...]
    required: dict[str, Any] = field(default_factory=dict)
    has_state: bool = False

    @property
    def id(self) -> str:
        return self.callback.__name__


@dataclass(frozen=True)
class MetricCase:
    """A metric.

    Attributes:
        metric: The class.
        arguments: Every argument of its `__init__` but `name` and `dtype`, none at its default.
        true: What is true of six examples.
        predicted: What a model says of them.
        invalid: Arguments that `__init__` must refuse, each with what its message must hold.
        compiles: Whether it can be computed in compiled code.
    """

    metric: type[keras.metrics.Metric]
    arguments: dict[str, Any]
    true: np.ndarray
    predicted: np.ndarray
    invalid: tuple[tuple[dict[str, Any], str], ...]
    compiles: bool = True

    @property
    def id(self) -> str:
        return self.metric.__name__


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
        kd.layers.ImageDescription,
        {"normalization": Normalization((10.0, 20.0), (3.0, 4.0)), "class_names": ("cat", "dög")},
        input_shape=(6, 5, 2),
        output_shape=(6, 5, 2),
        has_weights=False,
    ),
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
        kd.layers.FloatBarrier,
        {},
        input_shape=(6, 5, 2),
        output_shape=(6, 5, 2),
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
)

MODELS = (
    ModelCase(
        "mobilenet",
        kd.models.MobileNet,
        {"input_shape": (28, 28, 1), "alpha": 0.1, "classes": 3, "dropout": 0.5},
        features=102,
    ),
    ModelCase(
        "mobilenet_v2",
        kd.models.MobileNetV2,
        {"input_shape": (28, 28, 1), "alpha": 0.1, "classes": ["a", "b", "c"], "dropout": 0.5},
        features=1280,
    ),
)

CALLBACKS = (
    CallbackCase(
        kd.callbacks.EarlyStopping,
        lambda folder, images: kd.callbacks.EarlyStopping(patience=1),
        invalid=(
            ({"mode": "upwards"}, "mode.*'upwards'"),
            ({"patience": -1}, "patience.*-1"),
            ({"min_delta": float("nan")}, "min_delta.*nan"),
        ),
        has_state=True,
    ),
    CallbackCase(
        kd.callbacks.ClassActivationMaps,
        lambda folder, images: kd.callbacks.ClassActivationMaps(images, folder, images=3),
        invalid=(
            ({"every": 0}, "every.*0"),
            ({"images": -1}, "images.*-1"),
            ({"directory": ""}, "directory.*''"),
        ),
        required={"data": np.zeros((2, 8, 8, 1)), "directory": "maps"},
    ),
)

_BOXES = np.array([[1, 2, 6, 7], [0, 0, 4, 9], [3, 3, 8, 6]] * 2, "float32")
_MAPS = np.random.default_rng(0).uniform(size=(6, 9, 8)).astype("float32") ** 4
_MAPS[:4, 2:7, 1:6] += 0.6  # where the first box is
_MAPS[[1, 5], 8, 7] = 2.0  # beside the boxes

METRICS = (
    MetricCase(
        kd.metrics.MaxBoxAccuracy,
        {"iou": 0.3, "thresholds": 7},
        _BOXES,
        _MAPS,
        invalid=(({"iou": 0}, "iou.*0"), ({"thresholds": 2.5}, "thresholds.*2.5")),
        compiles=False,
    ),
    MetricCase(
        kd.metrics.ObjectCoverage,
        {"threshold": 0.4},
        _BOXES,
        _MAPS,
        invalid=(({"threshold": 1.5}, "threshold.*1.5"), ({"threshold": 0.0}, "threshold.*0.0")),
    ),
    MetricCase(
        kd.metrics.PointingGame,
        {"tolerance": 0.5},
        _BOXES,
        _MAPS,
        invalid=(({"tolerance": -1}, "tolerance.*-1"), ({"tolerance": "far"}, "tolerance.*far")),
    ),
)

# Public names that are no part of a kind, and where they are tested instead.
NOT_PARTS = {
    "keras_dlcourse.layers.ClusterWeight": "transforms weights: tests/quantize/test_clustering.py",
    "keras_dlcourse.layers.ConstantSparsity": "a schedule: tests/quantize/test_pruning.py",
    "keras_dlcourse.layers.PolynomialDecay": "a schedule: tests/quantize/test_pruning.py",
    "keras_dlcourse.layers.PruneWeight": "transforms weights: tests/quantize/test_pruning.py",
    "keras_dlcourse.layers.FakeQuantizeWeight": "of weights: tests/layers/test_compressed.py",
    "keras_dlcourse.layers.WeightTransform": "a base class: tests/layers/test_compressed.py",
    "keras_dlcourse.layers.compressed": "a function: tests/layers/test_compressed.py",
    "keras_dlcourse.layers.compressed_class": "a function: tests/layers/test_compressed.py",
    "keras_dlcourse.layers.describe": "a function: tests/layers/test_image_description.py",
    "keras_dlcourse.models.build": "a function: tests/models/test_registry.py",
    "keras_dlcourse.models.names": "a function: tests/models/test_registry.py",
    "keras_dlcourse.models.register": "a decorator: tests/models/test_registry.py",
}

# The parts of the package that are walked, with the table that must hold a row for each name.
WALKED: dict[str, tuple[Any, ...]] = {
    "layers": tuple(case.layer for case in LAYERS),
    "models": tuple(case.builder for case in MODELS),
    "losses": (),
    "metrics": tuple(case.metric for case in METRICS),
    "callbacks": tuple(case.callback for case in CALLBACKS),
}
