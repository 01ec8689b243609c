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
        either: Weights that rounding alone moves or does not, by name, with the reason.
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
    either: dict[str, str] = field(default_factory=dict)
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
        stride: By how much the last feature map is smaller than a large image.
        rounds_up: Whether it is as large as all strides under "same" padding make it.
        steady: Weights that training leaves as they are, by name.
        least: A height and width from which on it works with all its strides.
    """

    name: str
    builder: Callable[..., keras.Model]
    small: dict[str, Any]
    features: int
    stride: int = 32
    rounds_up: bool = True
    steady: tuple[str, ...] = ()
    least: int = 64

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


@dataclass(frozen=True)
class LossCase:
    """A loss.

    Attributes:
        loss: The class.
        arguments: Arguments of its `__init__` but `name`, `dtype` and `reduction`, none at its
            default; all of them over the cases of one class.
        true: What is true of ten rows.
        predicted: What a model says of them, float32.
        invalid: Arguments that `__init__` must refuse, each with what its message must hold.
        activation: What brings outputs of a model into the range of `predicted`.
        silent: Arguments that change nothing on one device, with the test that covers them.
        suffix: Tells two cases of one loss apart.
        held: Why the gradient is not that of differences, with the test that covers it.
    """

    loss: type[keras.losses.Loss]
    arguments: dict[str, Any]
    true: np.ndarray
    predicted: np.ndarray
    invalid: tuple[tuple[dict[str, Any], str], ...]
    activation: str | None = None
    silent: dict[str, str] = field(default_factory=dict)
    suffix: str = ""
    held: str = ""

    @property
    def id(self) -> str:
        return self.loss.__name__ + self.suffix


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
        kd.layers.CosineDense,
        {"units": 7},
        input_shape=(6, 5, 3),
        output_shape=(6, 5, 7),
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
        kd.layers.RangeBridge,
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
        kd.layers.LocalResponseNormalization,
        {"depth_radius": 1, "bias": 1.0, "alpha": 0.1, "beta": 0.5},
        input_shape=(9, 6, 4),
        output_shape=(9, 6, 4),
        has_weights=False,
        is_composite=False,
    ),
    LayerCase(
        kd.layers.SparseConnectedConv2D,
        {"connections": [[0, 2], [1], [0, 1, 3]], "kernel_size": 3, "padding": "same"},
        input_shape=(9, 6, 4),
        output_shape=(9, 6, 3),
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
    LayerCase(
        kd.layers.Superimpose,
        {"weight": (0.1, 0.3), "seed": 3},
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

# Models that other backends load as well, besides all layers: compiling them takes a while.
LOADED_ELSEWHERE = ("lenet5_paper", "mobilenet_v2")
_SMALL = {"input_shape": (28, 28, 1), "classes": 3, "alpha": 0.1}
MODELS = (
    ModelCase("lenet5", kd.models.LeNet5, {**_SMALL, "alpha": 0.5}, 60, stride=4, rounds_up=False),
    ModelCase(
        "lenet5_paper",
        kd.models.LeNet5Paper,
        {**_SMALL, "alpha": 1.0},
        120,
        stride=4,
        rounds_up=False,
        steady=("codes",),
    ),
    ModelCase("alexnet", kd.models.AlexNet, _SMALL, 24, rounds_up=False, least=96),
    ModelCase("vgg11", kd.models.VGG11, _SMALL, 51, rounds_up=False),
    ModelCase("nin_cifar10", kd.models.NiNCIFAR10, _SMALL, 19, stride=4),
    ModelCase("resnet18", kd.models.ResNet18, _SMALL, 51),
    ModelCase("resnet20_cifar", kd.models.ResNet20CIFAR, {**_SMALL, "alpha": 0.5}, 32, stride=4),
    ModelCase("wide_resnet_16_8", kd.models.WideResNet16x8, _SMALL, 51, stride=4),
    ModelCase("resnext29_8x64d", kd.models.ResNeXt29x8, _SMALL, 96, stride=4),
    ModelCase("densenet_40_12", kd.models.DenseNet40x12, _SMALL, 37, stride=4, rounds_up=False),
    ModelCase("googlenet", kd.models.GoogLeNet, _SMALL, 100),
    ModelCase("mobilenet_v3_small", kd.models.MobileNetV3Small, _SMALL, 96),
    ModelCase("efficientnet_b0", kd.models.EfficientNetB0, _SMALL, 128),
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
    CallbackCase(
        kd.callbacks.RetrievalMetrics,
        lambda folder, images: kd.callbacks.RetrievalMetrics((images, np.arange(12) % 3)),
        invalid=(
            ({"measures": ["recall@0"]}, "measures.*'recall@0'"),
            ({"measures": "recall@1"}, "measures.*'recall@1'"),
            ({"metric": "manhattan"}, "metric.*'manhattan'"),
            ({"images": 0}, "images.*0"),
            ({"batch_size": 0}, "batch_size.*0"),
            ({"layer": 3}, "layer.*int"),
            ({"prefix": None}, "prefix.*None"),
        ),
        required={"data": (np.zeros((4, 8, 8, 1)), np.zeros(4))},
        has_state=True,
    ),
    CallbackCase(
        kd.callbacks.CollapseMonitor,
        lambda folder, images: kd.callbacks.CollapseMonitor(
            (images, np.arange(len(images)) % 3), loss=kd.losses.TripletLoss()
        ),
        invalid=(
            ({"images": 2}, "images.*2"),
            ({"tolerance": 0}, "tolerance.*0"),
            ({"variance": 1.5}, "variance.*1.5"),
            ({"loss": "mse"}, "loss.*TripletLoss.*'mse'"),
            ({"data": np.zeros((4, 8, 8, 1))}, "data must hold labels"),
            ({"data": (np.zeros((4, 8, 8, 1)), np.arange(4))}, "4 images of 4 classes"),
        ),
        required={"data": (np.zeros((4, 8, 8, 1)), np.arange(4) % 2)},
        has_state=True,
    ),
    CallbackCase(
        kd.callbacks.ModelCheckpoint,
        lambda folder, images: kd.callbacks.ModelCheckpoint(
            folder / "best.keras", save_best_only=True
        ),
        invalid=(
            ({"filepath": "model.h5"}, "filepath.*'model.h5'"),
            ({"monitor": ""}, "monitor.*''"),
            ({"save_freq": "batch"}, "save_freq.*'batch'"),
            ({"keep": 0}, "keep.*0"),
            ({"on_error": None}, "on_error.*None"),
        ),
        required={"filepath": "{epoch}.keras"},
        has_state=True,
    ),
    CallbackCase(
        kd.callbacks.BackupAndRestore,
        lambda folder, images: kd.callbacks.BackupAndRestore(folder),
        invalid=(
            ({"backup_dir": ""}, "backup_dir.*''"),
            ({"save_freq": 0}, "save_freq.*0"),
            ({"also": [3]}, "also.*int"),
            ({"on_error": "stop"}, "on_error.*'stop'"),
        ),
        required={"backup_dir": "backup"},
    ),
    CallbackCase(
        kd.callbacks.TerminateOnNaN,
        lambda folder, images: kd.callbacks.TerminateOnNaN(folder, every=2),
        invalid=(({"every": 0}, "every.*0"), ({"directory": 3}, "directory.*3")),
        has_state=True,
    ),
    CallbackCase(
        kd.callbacks.PlateauMonitor,
        lambda folder, images: kd.callbacks.PlateauMonitor(),
        invalid=(({"patience": 0}, "patience.*0"), ({"min_delta": 1}, "min_delta.*1")),
        has_state=True,
    ),
    CallbackCase(
        kd.callbacks.SignalMonitor,
        lambda folder, images: kd.callbacks.SignalMonitor(
            (images, np.arange(len(images)) % 3), directory=folder
        ),
        invalid=(
            ({"images": 0}, "images.*0"),
            ({"every": 1.5}, "every.*1.5"),
            ({"dead": 1}, "dead.*1"),
            ({"directory": ""}, "directory.*''"),
            ({"data": np.zeros((4, 8, 8, 1))}, "data must hold.*labels"),
        ),
        required={"data": (np.zeros((4, 8, 8, 1)), np.arange(4) % 2)},
        has_state=True,
    ),
)

_BOXES = np.array([[1, 2, 6, 7], [0, 0, 4, 9], [3, 3, 8, 6]] * 2, "float32")
_MAPS = np.random.default_rng(0).uniform(size=(6, 9, 8)).astype("float32") ** 4
_MAPS[:4, 2:7, 1:6] += 0.6  # where the first box is
_MAPS[[1, 5], 8, 7] = 2.0  # beside the boxes

_POINTS = np.random.default_rng(3).uniform(1, 2, (6, 3, 3)).astype("float32")
_NEAR_BOXES = _BOXES + np.linspace(0, 2, 6, dtype="float32")[:, None] * [0.1, 0.3, 0.2, 0.5]
_NO_FORMAT = ({"bounding_box_format": "ltrb"}, "bounding_box_format.*rel_center_xywh.*ltrb")

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
    MetricCase(
        kd.metrics.BoxIoU,
        {"bounding_box_format": "center_yxhw"},
        _BOXES,
        _NEAR_BOXES,
        invalid=(_NO_FORMAT,),
    ),
    MetricCase(
        kd.metrics.BoxAccuracy,
        {"bounding_box_format": "center_yxhw", "iou": 0.85},
        _BOXES,
        _NEAR_BOXES,
        invalid=(_NO_FORMAT, ({"iou": 1.5}, "iou.*1.5")),
    ),
    MetricCase(
        kd.metrics.PCK,
        {"threshold": 0.6},
        _POINTS,
        _POINTS[..., :2] + np.linspace(0, 1, 36, dtype="float32").reshape(6, 3, 2),
        invalid=(({"threshold": 0}, "threshold.*0"),),
    ),
    MetricCase(
        kd.metrics.MultilabelAveragePrecision,
        {"classes": 3, "bins": 11},
        (np.random.default_rng(1).random((6, 3)) < 0.5).astype("float32"),
        np.random.default_rng(2).random((6, 3)).astype("float32"),
        invalid=(({"classes": 0}, "classes.*0"), ({"classes": 2, "bins": 0.5}, "bins.*0.5")),
    ),
    MetricCase(
        kd.metrics.ExpectedCalibrationError,
        {"bins": 3},
        np.array([0, 1, 1, 2, 0, 2]),
        np.random.default_rng(6).dirichlet([0.5, 1, 1], 6).astype("float32"),
        invalid=(({"bins": 0}, "bins.*0"),),
    ),
)

_CLASSES = np.array([0, 1, 0, 2, 1, 1, 2, 0, 0, 3])
_EMBEDDINGS = (np.random.default_rng(0).normal(size=(10, 4)) + 0.5).astype("float32")
_FORMAT = {"bounding_box_format": "an argument that has no default"}
_RATIOS_OF_AREAS = {"image_shape": "areas keep their ratios"}
_CONSTANT_FACTOR = "a factor is taken as constant: tests/losses/test_box_losses.py"
_SHAPES = (_NO_FORMAT, ({"image_shape": (0, 5)}, "image_shape.*0, 5"))
# Numbers that half precision holds, and no edge of one kind where there is one of the other.
_TRUE_BOXES, _FOUND_BOXES = (
    (np.random.default_rng(2).integers(20, 38, (2, 10, 4)) + [[[0]], [[0.5]]]) / 64
).astype("float32")
_TRUE_POINTS = np.concatenate([_TRUE_BOXES.reshape(10, 2, 2), np.ones((10, 2, 1))], axis=2).astype(
    "float32"
)
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
    *(
        LossCase(
            loss,
            {"bounding_box_format": "rel_center_xywh", "image_shape": (30, 90)},
            _TRUE_BOXES,
            _FOUND_BOXES,
            invalid=_SHAPES,
            silent={**_FORMAT, **silent},
            held=held,
        )
        for loss, silent, held in (
            (kd.losses.IoULoss, _RATIOS_OF_AREAS, ""),
            (kd.losses.GIoULoss, _RATIOS_OF_AREAS, ""),
            (kd.losses.DIoULoss, {}, ""),
            (kd.losses.CIoULoss, {}, _CONSTANT_FACTOR),
        )
    ),
    LossCase(
        kd.losses.SmoothL1Loss,
        {"beta": 0.2},
        _TRUE_BOXES,
        _FOUND_BOXES,
        invalid=(({"beta": 0}, "beta.*0"), ({"beta": "small"}, "beta.*small")),
    ),
    LossCase(
        kd.losses.KeypointLoss,
        {"beta": 0.2},
        _TRUE_POINTS,
        _FOUND_BOXES,
        invalid=(({"beta": -1}, "beta.*-1"),),
    ),
    LossCase(
        kd.losses.WeightedBinaryCrossentropy,
        {"positive_weight": [3.0, 0.5, 2.0]},
        (np.random.default_rng(1).random((10, 3)) < 0.5).astype("float32"),
        np.random.default_rng(2).uniform(0.1, 0.9, (10, 3)).astype("float32"),
        invalid=(
            ({"positive_weight": 0}, "positive_weight.*0"),
            ({"from_logits": 2}, "from_logits.*2"),
        ),
        activation="sigmoid",
    ),
    LossCase(
        kd.losses.WeightedBinaryCrossentropy,
        {"from_logits": True},
        (np.random.default_rng(1).random((10, 3)) < 0.5).astype("float32"),
        np.random.default_rng(2).normal(size=(10, 3)).astype("float32"),
        invalid=(({"from_logits": "yes"}, "from_logits.*yes"),),
        suffix="-logits",
    ),
    LossCase(
        kd.losses.TanhCrossentropy,
        {"from_logits": True},
        np.random.default_rng(1).choice([-1.0, 1.0], (10, 3)).astype("float32"),
        np.random.default_rng(2).normal(size=(10, 3)).astype("float32"),
        invalid=(({"from_logits": "yes"}, "from_logits.*yes"),),
        suffix="-logits",
    ),
    LossCase(
        kd.losses.TanhCrossentropy,
        {},
        np.random.default_rng(1).choice([-1.0, 1.0], (10, 3)).astype("float32"),
        np.random.default_rng(2).uniform(-0.9, 0.9, (10, 3)).astype("float32"),
        invalid=(({"from_logits": 2}, "from_logits.*2"),),
        activation="tanh",
    ),
)

# Public names that are no part of a kind, and where they are tested instead.
NOT_PARTS = {
    "keras_dlcourse.layers.ImageViews": "of a fixed size: tests/layers/test_image_views.py",
    "keras_dlcourse.layers.OutputDescription": "describes: tests/export/test_localizers.py",
    "keras_dlcourse.layers.ClassSpecific": "takes labels: tests/layers/test_augmentation.py",
    "keras_dlcourse.layers.ClusterWeight": "transforms weights: tests/compress/test_clustering.py",
    "keras_dlcourse.layers.ConstantSparsity": "a schedule: tests/compress/test_pruning.py",
    "keras_dlcourse.layers.PolynomialDecay": "a schedule: tests/compress/test_pruning.py",
    "keras_dlcourse.layers.PruneWeight": "transforms weights: tests/compress/test_pruning.py",
    "keras_dlcourse.layers.FakeQuantizeWeight": "of weights: tests/layers/test_compressed.py",
    "keras_dlcourse.layers.Whitening": "adapted first: tests/layers/test_whitening.py",
    "keras_dlcourse.layers.WeightTransform": "a base class: tests/layers/test_compressed.py",
    "keras_dlcourse.layers.compressed": "a function: tests/layers/test_compressed.py",
    "keras_dlcourse.layers.compressed_class": "a function: tests/layers/test_compressed.py",
    "keras_dlcourse.layers.describe": "a function: tests/layers/test_image_description.py",
    "keras_dlcourse.models.AugmentedModel": "takes a model: tests/models/test_augmented_model.py",
    "keras_dlcourse.models.AugmentationGain": "a result: tests/models/test_test_time.py",
    "keras_dlcourse.models.AugmentedPrediction": "a result: tests/models/test_test_time.py",
    "keras_dlcourse.models.TestTimeAugmentation": "takes models: tests/models/test_test_time.py",
    "keras_dlcourse.losses.for_task": "a table of losses: tests/losses/test_tasks.py",
    "keras_dlcourse.losses.GradNorm": "of MultitaskLoss: tests/models/test_multitask_model.py",
    "keras_dlcourse.losses.MultitaskLoss": "joins tasks: tests/losses/test_multitask_loss.py",
    "keras_dlcourse.metrics.LocalizationAccuracy": "of two outputs: tests/metrics/test_boxes.py",
    "keras_dlcourse.models.MLP": "of vectors, not images: tests/models/test_mlp.py",
    "keras_dlcourse.models.MonteCarloDropout": "takes models: tests/models/test_monte_carlo.py",
    "keras_dlcourse.models.MonteCarloPrediction": "a result: tests/models/test_monte_carlo.py",
    "keras_dlcourse.models.MultitaskModel": "trains a model: tests/models/test_multitask_model.py",
    "keras_dlcourse.models.Perceptron": "of scikit-learn's kind: tests/models/test_perceptron.py",
    "keras_dlcourse.models.Siamese": "takes a model: tests/models/test_siamese.py",
    "keras_dlcourse.models.build": "a function: tests/models/test_registry.py",
    "keras_dlcourse.models.CompoundScale": "of compound_scale: tests/models/test_families.py",
    "keras_dlcourse.models.without_auxiliary": "of GoogLeNet: tests/models/test_families.py",
    "keras_dlcourse.models.compound_scale": "a formula: tests/models/test_families.py",
    "keras_dlcourse.models.WideResNet": "of any size: tests/models/test_families.py",
    "keras_dlcourse.models.ensemble": "takes models: tests/models/test_families.py",
    "keras_dlcourse.models.embedding_model": "any backbone: tests/models/test_embedding_model.py",
    "keras_dlcourse.models.keypoint_regressor": "any backbone: tests/models/test_localizer.py",
    "keras_dlcourse.models.localizer": "any backbone: tests/models/test_localizer.py",
    "keras_dlcourse.models.names": "a function: tests/models/test_registry.py",
    "keras_dlcourse.models.register": "a decorator: tests/models/test_registry.py",
}

# The other variants are rows of the tables of those families.
_CASED = {case.builder.__name__ for case in MODELS}
NOT_PARTS |= {
    f"keras_dlcourse.models.{builder.__name__}": "a row of a table: tests/models/test_families.py"
    for builder in map(kd.models.registry._BUILDERS.get, kd.models.names())
    if builder is not None and builder.__name__ not in _CASED
}

# The parts of the package that are walked, with the table that must hold a row for each name.
WALKED: dict[str, tuple[Any, ...]] = {
    "layers": tuple(case.layer for case in LAYERS),
    "models": tuple(case.builder for case in MODELS),
    "losses": tuple(case.loss for case in LOSSES),
    "metrics": tuple(case.metric for case in METRICS),
    "callbacks": tuple(case.callback for case in CALLBACKS),
}
