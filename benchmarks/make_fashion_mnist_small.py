"""Make the part of Fashion-MNIST that the package ships, from the full set.

    python benchmarks/make_fashion_mnist_small.py FOLDER_WITH_THE_FOUR_IDX_GZ_FILES

Training and validation images are drawn from the 60,000 official training images and test images
from the 10,000 official test images, each class equally often, under a fixed seed. No two images
of the three parts are the same, bit for bit. xz packs these images tighter than gzip, PNG or
lossless WebP (375, 435, 395 and 393 bytes an image) and unpacks in a third of a second.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np

from keras_dlcourse._files import write_text
from keras_dlcourse.data.idx import read_idx, write_idx

OUTPUT = Path(__file__).parents[1] / "keras_dlcourse" / "data" / "fashion_mnist_small"
SEED = 0
PER_CLASS = {"train": 1000, "validation": 100, "test": 200}


def choose(labels: np.ndarray, allowed: np.ndarray, per_class: int, rng: np.random.Generator):
    """Return shuffled indices of `per_class` allowed examples of each class."""
    chosen = [
        rng.choice(np.flatnonzero((labels == label) & allowed), per_class, replace=False)
        for label in range(10)
    ]
    return rng.permutation(np.concatenate(chosen))


def main(source: Path) -> None:
    full = {
        part: (
            read_idx(source / f"{name}-images-idx3-ubyte.gz"),
            read_idx(source / f"{name}-labels-idx1-ubyte.gz"),
        )
        for part, name in (("train", "train"), ("test", "t10k"))
    }
    rng = np.random.default_rng(SEED)
    seen: set[bytes] = set()
    sums = []
    for part, per_class in PER_CLASS.items():
        images, labels = full["test" if part == "test" else "train"]
        allowed = np.array([image.tobytes() not in seen for image in images])
        _, first = np.unique(images.reshape(len(images), -1), axis=0, return_index=True)
        allowed &= np.isin(np.arange(len(images)), first)
        indices = choose(labels, allowed, per_class, rng)
        seen.update(images[index].tobytes() for index in indices)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            path = OUTPUT / f"{part}-{kind}-ubyte.xz"
            write_idx(path, array[indices])
            sums.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
            print(path.name, array[indices].shape, path.stat().st_size)
    write_text(OUTPUT / "SHA256SUMS", "".join(sums))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
