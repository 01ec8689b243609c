"""All networks: how long they take to build, what they cost, and the table in docs/models.md.

Writes `keras_dlcourse/models/costs.csv`, which `keras-dlcourse models` prints, and that table.
Building is timed for small images, at the paper's width, as `keras-dlcourse train` builds them.
"""

from __future__ import annotations

import gc
import math
import time
from typing import Any
from unittest import mock

import keras
import numpy as np
from _figures import Figure, in_turn, ratio
from _page import put

import keras_dlcourse as kd
from keras_dlcourse.models.costs import Cost, write
from keras_dlcourse.models.measuring import measure_network
from keras_dlcourse.models.registry import _BUILDERS

FAMILIES = {
    "lenet": "LeNet-5 (LeCun et al., 1998)",
    "alexnet": "AlexNet (Krizhevsky et al., 2012)",
    "vgg": "VGG (Simonyan and Zisserman, 2015)",
    "nin": "Network in Network (Lin et al., 2014)",
    "googlenet": "GoogLeNet (Szegedy et al., 2015)",
    "resnet": "ResNet (He et al., 2016)",
    "wide_resnet": "Wide ResNet (Zagoruyko and Komodakis, 2016)",
    "resnext": "ResNeXt (Xie et al., 2017)",
    "densenet": "DenseNet (Huang et al., 2017)",
    "mobilenet": "MobileNet (Howard et al., 2017)",
    "mobilenet_v2": "MobileNetV2 (Sandler et al., 2018)",
    "mobilenet_v3": "MobileNetV3 (Howard et al., 2019)",
    "efficientnet": "EfficientNet (Tan and Le, 2019)",
}
# Ours, its twin in keras.applications, and the arguments of each.
TWINS: tuple[tuple[str, str, dict[str, Any], dict[str, Any]], ...] = (
    ("vgg16", "VGG16", {"output_stride": 32}, {}),
    ("resnet50", "ResNet50", {"output_stride": 32, "use_bias": True}, {}),
    ("mobilenet_v2", "MobileNetV2", {"output_stride": 32}, {}),
    ("mobilenet_v3_small", "MobileNetV3Small", {"output_stride": 32, "dropout": 0.2},
     {"include_preprocessing": False}),
    ("densenet121", "DenseNet121", {"output_stride": 32}, {}),
    ("efficientnet_b0", "EfficientNetB0", {"output_stride": 32}, {}),
)  # fmt: skip


def measure() -> list[Figure]:
    rows = [measure_network(name) for name in kd.models.names()]
    write(rows)
    write_page(rows)
    return [_building(), *(figure for twin in TWINS for figure in _beside(*twin))]


def _building() -> Figure:
    seconds = {}
    for name in kd.models.names():
        started = time.perf_counter()
        model = kd.models.build(name, input_shape=(32, 32, 3), classes=10)
        seconds[name] = time.perf_counter() - started
        del model
        keras.utils.clear_session()
        gc.collect()
    slowest = max(seconds, key=seconds.__getitem__)
    detail = f"the slowest: {slowest}, {seconds[slowest]:.1f} s"
    what = f"building all {len(seconds)} networks for images of 32 x 32"
    return Figure(what, sum(seconds.values()), "s", 180, detail=detail)


def _beside(name: str, twin: str, ours: dict[str, Any], theirs: dict[str, Any]) -> list[Figure]:
    shape = (64, 64, 3)

    def build() -> keras.Model:
        return kd.models.build(name, input_shape=shape, classes=10, **ours)

    def build_twin() -> keras.Model:
        return getattr(keras.applications, twin)(
            input_shape=shape, weights=None, classes=10, **theirs
        )

    models = [build(), build_twin()]
    what = f"building {name} beside keras.applications"
    # Normal numbers, as He et al. draw them, cost three times the uniform ones of Keras's twins:
    # the limit is for the builders alone, and what a user waits for is shown below it.
    in_full = ratio(f"{what}, first weights drawn", *in_turn(build, build_twin, rounds=5), math.inf)
    with mock.patch.object(keras.initializers.VarianceScaling, "__call__", _zeros):
        building = ratio(what, *in_turn(build, build_twin, rounds=9), 1.1)
    x = np.random.default_rng(0).uniform(size=(16, *shape)).astype("float32")
    y = np.arange(16) % 10
    for model in models:
        model.compile(keras.optimizers.SGD(1e-3), "sparse_categorical_crossentropy")
        model.train_on_batch(x, y)
    times = in_turn(
        *(lambda model=model: model.train_on_batch(x, y) for model in models), rounds=25
    )
    keras.utils.clear_session()
    gc.collect()
    step = ratio(f"a training step of {name} beside keras.applications", *times, 1.1)
    return [building, in_full, step]


def _zeros(self: object, shape: tuple[int, ...], dtype: str | None = None) -> Any:
    return keras.ops.zeros(shape, dtype)


def write_page(rows: list[Cost]) -> None:
    """Put the table between its marks in docs/models.md."""
    lines = [
        "| name | builder | image | trainable weights | million multiply-adds | peak activations |",
        "|---|---|---|---|---|---|",
    ]
    by_name = {row.name: row for row in rows}
    for module, title in FAMILIES.items():
        lines.append(f"| **{title}** | | | | | |")
        for name, builder in _BUILDERS.items():
            if builder.__module__.rpartition(".")[2] == module:
                row = by_name[name]
                lines.append(
                    f"| `{name}` | `{builder.__name__}` | {row.image} | {row.trained:,} "
                    f"| {row.multiply_adds / 1e6:,.1f} | {row.peak:,} |"
                )
    put("models.md", "variants", lines)
