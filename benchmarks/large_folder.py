"""Training on more images than memory: a folder of 100,000 photos, cached on disk.

Of the photos of 500x375 pixels, 2,000 are distinct, and the others are hard links to them. The
same network is trained in turn, some steps at a time, on pixels from disk, on an array in memory,
and on the files, which are decoded when they are used; the cache has been written before. For
fewer photos: `python benchmarks/large_folder.py 3000`.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _figures import Figure
from PIL import Image

IMAGES, DISTINCT, CLASSES = 100_000, 2_000, 10
SIDE, BATCH = 96, 32
ROUNDS, STEPS = 9, 15


def measure(images: int = IMAGES) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_photos(root / "photos", images)
        # A process of its own, whose memory is that of this training.
        words = [sys.executable, __file__, str(images), folder]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    rates = found["rates"]
    pixels = images * SIDE * SIDE * 3 / 1e6
    return [
        Figure(
            f"training on {images:,} photos cached on disk / on arrays in memory",
            rates["disk"] / rates["memory"],
            "x",
            0.9,
            False,
            f"{rates['disk']:.0f} against {rates['memory']:.0f} images/s",
        ),
        Figure(
            "the same, decoded in each epoch",
            rates["decoded"] / rates["memory"],
            "x",
            float("inf"),
            detail=f"{rates['decoded']:.0f} images/s",
        ),
        Figure(
            f"memory that the {images:,} photos take",
            found["grown"],
            "MB",
            0.2 * pixels,
            detail=f"{found['peak']:,.0f} MB with Keras; their pixels are {pixels:,.0f} MB",
        ),
        Figure("reading them once, into the cache", found["caching"], "s", float("inf")),
    ]


def make_photos(root: Path, images: int) -> None:
    """Make classes of photos with smooth shapes and some noise, as JPEG files of about 70 kB."""
    rng = np.random.default_rng(0)
    files: list[Path] = []
    for number in range(images):
        path = root / f"class{number % CLASSES}" / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number >= DISTINCT:
            path.hardlink_to(files[number % DISTINCT])
            continue
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3)).astype("uint8"))
        smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), "int16")
        noisy = smooth + rng.integers(-20, 21, (375, 500, 1), "int16")
        Image.fromarray(noisy.clip(0, 255).astype("uint8")).save(path, quality=85)
        files.append(path)


def train(images: int, root: Path) -> dict[str, object]:
    """Train from disk, then in turn from disk, from memory, and from the files."""
    import keras

    import keras_dlcourse as kd
    from keras_dlcourse.data.pipeline import rebuild

    keras.utils.set_random_seed(0)
    model = kd.models.MobileNetV2(input_shape=(SIDE, SIDE, 3), classes=CLASSES, alpha=0.35)
    model.compile("sgd", "sparse_categorical_crossentropy")

    def fit(data: kd.data.Pipeline, steps: int = STEPS) -> None:
        model.fit(data, epochs=1, steps_per_epoch=steps, verbose=0)

    few = np.zeros((1000, SIDE, SIDE, 3), "uint8")
    fit(kd.data.pipeline(few, np.zeros(1000, int), batch_size=BATCH, shuffle=True))
    before = peak_memory()
    began = time.perf_counter()
    folder = root / "cache"
    disk = kd.data.image_folder(
        root / "photos", image_size=SIDE, batch_size=BATCH, cache=folder
    ).train
    caching = time.perf_counter() - began
    disk.epoch = 1
    fit(disk)
    peak = peak_memory()

    # Further ways to read the same images in the same order.
    files = kd.data.ImageFiles(disk.x.paths, disk.x.image_size)
    ways = {"disk": disk, "memory": rebuild(disk, x=disk.x[:]), "decoded": rebuild(disk, x=files)}
    for data in ways.values():
        data.epoch = 1
        fit(data, 2)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, data in ways.items():
            began = time.perf_counter()
            fit(data)
            rates[name].append(STEPS * BATCH / (time.perf_counter() - began))
    return {
        "rates": {name: statistics.median(found) for name, found in rates.items()},
        "grown": peak - before,
        "peak": peak,
        "caching": caching,
    }


def peak_memory() -> float:
    """Return the largest memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(train(int(sys.argv[1]), Path(sys.argv[2]))))
    else:
        for figure in measure(*map(int, sys.argv[1:])):
            print(f"{figure.what}: {figure.value:.3g} {figure.unit} ({figure.detail})")
