"""One small network of each family, trained, exported and run: the table in docs/models.md.

Each gets the same CPU time (`KD_BUDGET` seconds of it, 60 by default) on the 60,000 training images
of Fashion-MNIST (fewer if it would not see them all once), which the Debian package
`dataset-fashion-mnist` has: Adam with a rate that falls to 0 along a cosine, batches of 64, no
augmentation. Accuracies are those on the first 5,000 of its test images. Rows of a run of part of
them (`KD_FAMILIES=resnet20_cifar`) replace theirs in the table.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import tempfile
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from _figures import Figure
from _page import put
from data import debian_package

import keras_dlcourse as kd
from keras_dlcourse.data.datasets import FASHION_CLASSES
from keras_dlcourse.data.idx import read_idx

HERE = Path(__file__).parent
KEPT = HERE / "families.json"
BUDGET = float(os.environ.get("KD_BUDGET", "60"))
BATCH = 64
TESTED = 5000
SEED = 0
Part = tuple[np.ndarray, np.ndarray]

# Widths that a small image and minutes of CPU time call for; all else is the paper's.
# AlexNet stands twice: its normalization has no integer kernel.
SMALL: dict[str, dict[str, Any]] = {
    "lenet5": {},
    "alexnet": {"alpha": 0.25},
    "alexnet, all in integers": {"alpha": 0.25, "normalization": "batch"},
    "vgg11": {"alpha": 0.25, "batch_norm": True},
    "nin_cifar10": {"alpha": 0.5},
    "googlenet": {"alpha": 0.25},
    "resnet20_cifar": {},
    "wide_resnet_16_8": {"alpha": 0.25},
    "resnext29_8x64d": {"alpha": 0.125},
    "densenet_bc_100_12": {"alpha": 0.5},
    "mobilenet": {"alpha": 0.25},
    "mobilenet_v2": {"alpha": 0.35},
    "mobilenet_v3_small": {"alpha": 0.5},
    "efficientnet_b0": {"alpha": 0.35},
    "efficientnet_lite0": {"alpha": 0.35},
}

# Of the list that the makers of Fashion-MNIST keep: larger networks of the family, trained for long
# on a GPU, most with augmentation (https://github.com/zalandoresearch/fashion-mnist).
PUBLISHED = {
    "alexnet": "89.9 % (triplet loss)",
    "vgg11": "93.5 % (VGG-16)",
    "googlenet": "93.7 %",
    "resnet20_cifar": "94.9 % (ResNet-18)",
    "wide_resnet_16_8": "96.7 % (40-4)",
    "densenet_bc_100_12": "95.4 %",
    "mobilenet": "95.0 %",
}


@dataclass(frozen=True)
class Row:
    """What was measured of one network.

    Attributes:
        options: Its options beside those of all.
        weights: Weights that are trained.
        seen: Training images that the budget let it see, again ones among them.
        seconds: CPU time of training, in seconds.
        train: Share of right answers on the training images.
        test: The same on the test images, in Keras.
        float_error: Largest difference between the float32 file's scores and those of Keras.
        int8: Share of right answers of the int8 file.
        bytes: Size of the int8 file.
        operators: Kinds of operators in it, with their versions.
        islands: Number of operators that stay in float.
        old_runtime: Share of right answers on tflite-runtime 2.14, or why there is none.
    """

    options: str
    weights: int
    seen: int
    seconds: float
    train: float
    test: float
    float_error: float
    int8: float
    bytes: int
    operators: str
    islands: int
    old_runtime: float | str


def measure() -> list[Figure]:
    chosen = os.environ.get("KD_FAMILIES", ";".join(SMALL)).split(";")
    train, (images, labels) = fashion_mnist("train"), fashion_mnist("t10k")
    test = images[:TESTED], labels[:TESTED]
    rows = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    for name in chosen:
        rows[name] = asdict(_row(network(name), SMALL[name], train, test))
        KEPT.write_text(json.dumps({key: rows[key] for key in SMALL if key in rows}, indent=1))
        print(name, rows[name], flush=True)
        write_page({key: Row(**rows[key]) for key in SMALL if key in rows})
    return [figure for name in chosen for figure in _figures(name, Row(**rows[name]))]


def network(row: str) -> str:
    """Return the name of the network that a row is about."""
    return row.split(",")[0]


def _figures(name: str, row: Row) -> list[Figure]:
    what = f"{network(name)} ({row.options})" if row.options else name
    return [
        Figure(f"{what}: accuracy", 100 * row.test, "%", -math.inf, at_most=False,
               detail=f"{row.seen:,} images seen, {row.seconds:.0f} s of CPU"),
        Figure(f"{what}: float32 file against Keras", row.float_error, "", 1e-5),
        Figure(f"{what}: int8 file less float", 100 * (row.int8 - row.test), "points", -1.0,
               at_most=False),
    ]  # fmt: skip


def _row(name: str, options: dict[str, Any], train: Part, test: Part) -> Row:
    keras.utils.set_random_seed(SEED)
    normalization = kd.data.Normalization.fit(train[0])
    model = kd.models.build(
        name, input_shape=(28, 28, 1), classes=FASHION_CLASSES,
        preprocessing=normalization, **options,
    )  # fmt: skip
    x, y = normalization(train[0]).astype("float32"), train[1]
    seen, seconds = _fit(model, x, y)
    images = normalization(test[0]).astype("float32")
    answers = model.predict(images, batch_size=200, verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        exact, small = Path(folder) / "float.tflite", Path(folder) / "int8.tflite"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # islands are counted below
            kd.export.to_tflite(model, exact)
            kd.export.to_tflite(model, small, quantization="int8", calibration=x[:2000])
        again = kd.edge.ImageClassifier(exact).scores(test[0][:500])
        found = kd.export.inspect(small)
        return Row(
            options=", ".join(f"{key}={value!r}" for key, value in options.items()),
            weights=sum(math.prod(weight.shape) for weight in model.trainable_weights),
            seen=seen,
            seconds=seconds,
            train=_right(model.predict(x[:10000], batch_size=200, verbose=0), y[:10000]),
            test=_right(answers, test[1]),
            float_error=float(np.abs(again - answers[:500]).max()),
            int8=_right(kd.edge.ImageClassifier(small).scores(test[0]), test[1]),
            bytes=small.stat().st_size,
            operators=", ".join(f"{op} v{version}" for op, (version, _) in
                                sorted(found.operators.items())),
            islands=len(found.float_islands),
            old_runtime=_on_old_runtime(small, test),
        )  # fmt: skip


def _fit(model: keras.Model, x: np.ndarray, y: np.ndarray) -> tuple[int, float]:
    """Train for as many batches as the budget allows; return images seen and seconds."""
    loss, start = "sparse_categorical_crossentropy", model.get_weights()
    model.compile(keras.optimizers.Adam(1e-5), loss)
    model.fit(x[: 10 * BATCH], y[: 10 * BATCH], batch_size=BATCH, verbose=0)  # compiles the step
    before = time.process_time()
    model.fit(x[: 30 * BATCH], y[: 30 * BATCH], batch_size=BATCH, verbose=0)
    steps = max(10, round(BUDGET / (time.process_time() - before) * 30))
    model.set_weights(start)
    rate = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    model.compile(keras.optimizers.Adam(rate, clipnorm=1.0), loss)
    before = time.process_time()
    # Images in an order drawn anew each time that all have been seen.
    rng = np.random.default_rng(SEED)
    rounds = math.ceil(steps * BATCH / len(x))
    order = np.concatenate([rng.permutation(len(x)) for _ in range(rounds)])[: steps * BATCH]
    for part in np.array_split(order, math.ceil(len(order) / len(x))):
        model.fit(x[part], y[part], batch_size=BATCH, shuffle=False, verbose=0)
    return len(order), time.process_time() - before


def fashion_mnist(part: str) -> Part:
    """Return images and labels of the part `"train"` or `"t10k"`."""
    folder = debian_package("dataset-fashion-mnist") / "usr/share/datasets/fashion-mnist"
    return (
        read_idx(folder / f"{part}-images-idx3-ubyte.gz")[..., None],
        read_idx(folder / f"{part}-labels-idx1-ubyte.gz"),
    )


def _right(scores: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(scores.argmax(1) == labels))


_OLD = """
import sys
import numpy as np
from keras_dlcourse.edge import ImageClassifier
np.save(sys.argv[3], ImageClassifier(sys.argv[1]).scores(np.load(sys.argv[2])))
"""


def _on_old_runtime(path: Path, test: Any) -> float | str:
    """Ask tflite-runtime 2.14, in the environment that `KD_RUNTIME_PYTHON` names."""
    python = os.environ.get("KD_RUNTIME_PYTHON")
    if not python:
        return "not tried"
    images, scores = path.with_name("images.npy"), path.with_name("scores.npy")
    np.save(images, test[0])
    done = subprocess.run(
        [python, "-c", _OLD, path, images, scores], capture_output=True, text=True, cwd=HERE.parent
    )
    if done.returncode:
        return done.stderr.strip().splitlines()[-1][:200]
    return _right(np.load(scores), test[1])


def write_page(rows: dict[str, Row]) -> None:
    """Put the table between its marks in docs/models.md."""
    lines = [
        "| network | weights | images seen | train | test | int8 | int8 file "
        "| tflite-runtime 2.14 | published |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        options = f", `{row.options}`" if row.options else ""
        old = row.old_runtime if isinstance(row.old_runtime, str) else f"{row.old_runtime:.1%}"
        islands = f", {row.islands} operators in float" if row.islands else ""
        lines.append(
            f"| `{network(name)}`{options} | {row.weights:,} "
            f"| {row.seen / 1000:,.0f} k | {row.train:.1%} | {row.test:.1%} "
            f"| {row.int8:.1%} | {row.bytes / 1000:,.0f} kB{islands} | {old} "
            f"| {PUBLISHED.get(network(name), '')} |"
        )
    kinds: dict[str, list[str]] = {}
    for name, row in rows.items():
        kinds.setdefault(row.operators, []).append(f"`{network(name)}`{name[len(network(name)) :]}")
    lines += ["", "Operators of the int8 files:", ""]
    lines += [f"- {', '.join(dict.fromkeys(names))}: {ops}" for ops, names in kinds.items()]
    put("models.md", "families", lines)
