"""Data sets by name. Never downloads; errors say how to get missing files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_dlcourse._checks import check_one_of
from keras_dlcourse._files import keras_home, user_path
from keras_dlcourse._moved import renamed_arguments
from keras_dlcourse.data.fashion import FASHION_CLASSES, fashion_scenes, read_garments, read_pair
from keras_dlcourse.data.pipeline import Pipeline
from keras_dlcourse.data.split import split, split_indices
from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.edge.vision.images import resize

_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_Part = tuple[Any, np.ndarray]


@dataclass(frozen=True)
class SourceFiles:
    """The files that a data set was read from.

    Attributes:
        paths: The files of each part, `"train"`, `"validation"` and `"test"`, in stored order.
        names: Their paths from the folder of the data set, as text.
        unreadable: What is wrong with each file that was skipped.
    """

    paths: Mapping[str, tuple[Path, ...]]
    names: Mapping[str, tuple[str, ...]]
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """A data set in three disjoint parts.

    Attributes:
        name: Name or folder that it was loaded from.
        train: For fitting; reshuffled each epoch.
        validation: For model selection; in stored order.
        test: For the final evaluation; in stored order.
        class_names: Names of the classes, in the order of the labels.
        normalization: Fitted on the training part only and applied by all three parts.
        files: The files that it was read from, or None if it was not read from files.
    """

    name: str
    train: Pipeline
    validation: Pipeline
    test: Pipeline
    class_names: tuple[str, ...]
    normalization: Normalization
    files: SourceFiles | None = None

    @classmethod
    def from_parts(
        cls,
        name: str,
        train: _Part,
        validation: _Part,
        test: _Part,
        class_names: tuple[str, ...],
        *,
        batch_size: int = 32,
        seed: int = 0,
    ) -> Dataset:
        """Create a data set from pairs of images (uint8) and labels for train, validation and test.

        Use it for data that is already split. The normalization is fitted on the training part. To
        read images from files, pass `ImageFiles`; see "A folder of photos" in docs/data.md.

        Args:
            name: Name of the data set.
            train: Images `(n, height, width, channels)` and labels: `(n,)`, or `(n, classes)` if
                an image may have several classes, or masks `(n, height, width)`.
            validation: Images and labels, like `train`.
            test: Images and labels, like `train`.
            class_names: Names of the classes.
            batch_size: Number of images per batch.
            seed: Seed of the training order.

        Example:
            >>> import numpy as np
            >>> part = np.zeros((4, 8, 8, 3), "uint8"), np.array([0, 1, 0, 1])
            >>> Dataset.from_parts("mine", part, part, part, ("cat", "dog"))
            <Dataset mine: 8x8x3 images of 2 classes, 4 train, 4 validation, 4 test>
        """
        normalization = Normalization.fit(train[0])

        def part(images: Any, labels: np.ndarray, shuffle: bool = False) -> Pipeline:
            return Pipeline(
                images,
                labels,
                batch_size=batch_size,
                shuffle=shuffle,
                seed=seed,
                normalization=normalization,
                class_names=class_names,
            )

        return cls(
            name,
            part(*train, shuffle=True),
            part(*validation),
            part(*test),
            class_names,
            normalization,
        )

    @property
    def ignore(self) -> int | None:
        """The value of pixels without a label, 255, if the labels are masks, else None.

        For `keras.losses.SparseCategoricalCrossentropy(ignore_class=data.ignore)`.
        """
        return self.train.ignore

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image, as a model's `input_shape` takes them."""
        return self.train.image_shape

    def __repr__(self) -> str:
        sizes = ", ".join(
            f"{getattr(self, part).examples} {part}" for part in ("train", "validation", "test")
        )
        shape = "x".join(map(str, self.image_shape))
        return f"<Dataset {self.name}: {shape} images of {len(self.class_names)} classes, {sizes}>"


@renamed_arguments(directory="folder")
def load(
    name: str,
    *,
    folder: str | os.PathLike[str] | None = None,
    batch_size: int = 32,
    seed: int = 0,
) -> Dataset:
    """Load a data set by name.

    | name | train | validation | test |
    |---|---|---|---|
    | `fashion_mnist_small` | 10,000 | 1,000 | 2,000 |
    | `fashion_mnist` | 54,000 | 6,000 | 10,000 |
    | `digits` | 1,259 | 179 | 359 |
    | `fashion_scenes` | 3,000 | 400 | 800 |

    The first three consist of 28x28 gray images in 10 classes. `fashion_mnist_small` is a subset of
    Fashion-MNIST that is included in this package. `fashion_mnist` is read from `folder` if
    given, otherwise from the Debian package `dataset-fashion-mnist` or Keras's cache. `digits` are
    the 8x8 images with 17 gray levels from scikit-learn, scaled to 0..255 and resized like photos,
    so that image models can be trained on them.

    `fashion_scenes` is for semantic segmentation: 96x96 color scenes of one to four garments of
    `fashion_mnist_small`, composed by `kd.data.fashion_scenes` in about 10 s, and masks of 11
    classes, of which the first is the background. Scenes of two parts share no garment.

    For sets with official training and test images, the validation images are taken from the
    training images.

    Args:
        name: One of the names above.
        folder: Folder with the four `fashion_mnist` files. Not allowed for the other sets.
        batch_size: Number of images per batch.
        seed: Seed of the training order. It does not affect which images are in which part.

    Returns:
        A `Dataset`.

    Raises:
        ValueError: If there is no data set with that name or a file is damaged.
        FileNotFoundError: If the files are missing; the message says how to get them.

    Reference:
        Xiao, Rasul and Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
        Learning Algorithms, 2017, https://arxiv.org/abs/1708.07747.

    Example:
        >>> import keras_dlcourse as kd
        >>> data = kd.data.load("fashion_mnist_small")
        >>> data.image_shape, data.test.examples
        ((28, 28, 1), 2000)
        >>> data.normalization.mean  # of the training images only
        (72.0,)
    """
    check_one_of("name", name, tuple(_LOADERS))
    if folder is not None and name != "fashion_mnist":
        raise ValueError(f"{name} is not read from a folder. Omit folder={folder!r}.")
    parts, class_names = _LOADERS[name](folder)
    return Dataset.from_parts(name, *parts, class_names, batch_size=batch_size, seed=seed)


_Loaded = tuple[tuple[_Part, _Part, _Part], tuple[str, ...]]


def _fashion_mnist_small(folder: None) -> _Loaded:
    train, validation, test = map(read_garments, ("train", "validation", "test"))
    return (train, validation, test), FASHION_CLASSES


def _fashion_scenes(folder: None) -> _Loaded:
    def part(name: str, count: int) -> _Part:
        scenes = fashion_scenes(name, count)
        return scenes.images, scenes.class_masks

    parts = part("train", 3000), part("validation", 400), part("test", 800)
    return parts, ("background", *FASHION_CLASSES)


def _fashion_mnist(folder: str | os.PathLike[str] | None) -> _Loaded:
    place = _fashion_folder(folder)
    train, validation = split(*read_pair(place, "train", ".gz"), 0.1)
    return (train, validation, read_pair(place, "t10k", ".gz")), FASHION_CLASSES


def _digits(folder: None) -> _Loaded:
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = np.round(digits.images * (255 / 16)).astype("uint8")[..., None]
    images = np.stack([resize(image, (28, 28)) for image in grey])
    train, test, validation = (
        (images[indices], digits.target[indices])
        for indices in split_indices(digits.target, (0.2, 0.1))
    )
    return (train, validation, test), tuple(map(str, range(10)))


_LOADERS: dict[str, Callable[[Any], _Loaded]] = {
    "fashion_mnist_small": _fashion_mnist_small,
    "fashion_mnist": _fashion_mnist,
    "fashion_scenes": _fashion_scenes,
    "digits": _digits,
}


def _fashion_folder(folder: str | os.PathLike[str] | None) -> Path:
    """Return the first folder that contains the files of Fashion-MNIST."""
    places = [_DEBIAN, keras_home() / "datasets" / "fashion-mnist"]
    places = places if folder is None else [user_path(folder)]
    for place in places:
        if all((place / name).is_file() for name in _fashion_files()):
            return place
    raise FileNotFoundError(
        f"The files of Fashion-MNIST ({', '.join(_fashion_files())}) are not in "
        f"{' or '.join(map(str, places))}. Get them with `apt install dataset-fashion-mnist`, or "
        "with `keras.datasets.fashion_mnist.load_data()` on a machine that is online, or pass "
        "folder=, the folder they are in. The subset fashion_mnist_small needs no download."
    )


def _fashion_files() -> list[str]:
    return [
        f"{part}-{kind}-ubyte.gz"
        for part in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    ]
