"""A folder of photos as a data set: a folder a class, images of any size."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from keras_dlcourse._files import user_path
from keras_dlcourse.data import checks
from keras_dlcourse.data.datasets import Dataset
from keras_dlcourse.data.image_files import ImageFiles, threads
from keras_dlcourse.data.progress import track
from keras_dlcourse.data.split import check_fractions, split_indices

# Left by desktops and archivers; names that begin with a dot are left out as well.
_CLUTTER = {"thumbs.db", "desktop.ini", "__macosx"}
_PARTS = {"train", "training", "validation", "valid", "val", "test", "testing"}
_IN_MEMORY = 1 << 30  # bytes of pixels that are kept in memory unless asked otherwise
_LISTED = 10  # bad files named in a message
_LEAST = 3  # images a class: one for each part


def image_folder(
    path: str | os.PathLike[str],
    image_size: int | tuple[int, int] = 96,
    channels: int = 3,
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    batch_size: int = 32,
    skip_bad: bool = False,
    crop: bool = False,
    cache: bool | None = None,
) -> Dataset:
    """Make a data set of a folder that has a folder of images for each class.

    The classes are the folders' names in sorted order. Images may be of any size and any format
    that Pillow reads, and lie at any depth below their class. Left out are files beside the class
    folders, names that begin with a dot, `Thumbs.db`, `desktop.ini` and `__MACOSX`; every other
    file must be an image, so that none is lost unseen. All files are read at the beginning.

    Args:
        path: The folder.
        image_size: Height and width to resize to, in pixels; one number for both.
        channels: 3 for RGB, 1 for grey.
        validation: Part of the images of each class for validation, above 0; at least one image.
        test: Part of the images of each class for the test, above 0; at least one image.
        seed: Seed of the split and of the order of training.
        batch_size: Images in a batch.
        skip_bad: Whether to go on without the files that cannot be read, with a warning that names
            them.
        crop: False stretches images to the size, True keeps their aspect and cuts their middle out.
            Do on the device what was done here.
        cache: Whether to keep the pixels in memory; if not, they are read again each epoch.
            None keeps up to 1 GiB of them.

    Returns:
        A `Dataset`: three parts, disjoint, with the classes in the same proportions, and a
        normalization fitted on the training part only.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If files are no images (it names them), if there are fewer than two classes or a
            class has fewer than three images, or an argument is out of range.

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> import keras_dlcourse as kd
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> for color in ("green", "red"):
        ...     (root / color).mkdir()
        ...     for i in range(5):
        ...         Image.new("RGB", (40 + i, 30), color).save(root / color / f"{i}.png")
        >>> data = kd.data.image_folder(root, image_size=32)
        >>> data.class_names, data.image_shape
        (('green', 'red'), (32, 32, 3))
        >>> data.train.examples, data.validation.examples, data.test.examples
        (6, 2, 2)
    """
    size = _image_size(image_size)
    if channels not in (1, 3):
        raise ValueError(f"channels must be 3 for RGB or 1 for grey, got {channels!r}.")
    checks.whole_number("batch_size", batch_size, least=1)
    checks.whole_number("seed", seed, least=0)
    check_fractions(validation=validation, test=test)

    root = user_path(path)
    names, paths, labels = find_classes(root)
    _check_counts(root, names, labels)
    files = ImageFiles(paths, size, channels, crop)
    if cache is None:
        cache = int(np.prod(files.shape, dtype=np.int64)) <= _IN_MEMORY
    pixels = np.empty(files.shape, np.uint8) if cache else None
    good = _read_all(files, pixels, skip_bad)
    labels = labels[good]
    _check_counts(root, names, labels)

    def part(indices: np.ndarray) -> tuple[Any, np.ndarray]:
        chosen = good[indices]
        return (files.subset(chosen) if pixels is None else pixels[chosen]), labels[indices]

    train, held_out, last = map(part, split_indices(labels, (validation, test), seed))
    return Dataset.from_parts(
        root.resolve().name, train, held_out, last, names, batch_size=batch_size, seed=seed
    )


def _image_size(value: int | tuple[int, int]) -> tuple[int, int]:
    sizes = (value, value) if not isinstance(value, tuple | list) else tuple(value)
    if len(sizes) != 2:
        raise ValueError(f"image_size must be a number or (height, width), got {value!r}.")
    height, width = (checks.whole_number("image_size", size, least=1) for size in sizes)
    return height, width


def find_classes(root: Path) -> tuple[tuple[str, ...], list[Path], np.ndarray]:
    """Return class names, files, and the number of the class of each file."""
    if not root.is_dir():
        raise FileNotFoundError(
            f"{root} is not a folder. Give a folder that holds one folder of images for each class."
        )
    folders = [entry for entry in _entries(root) if entry.is_dir()]
    names = tuple(folder.name for folder in folders)
    if len(folders) < 2:
        found = f"only the folder {names[0]}" if names else "no folders"
        raise ValueError(
            f"{root} holds {found}; it must hold one folder of images for each of two classes or "
            "more, e.g. cats/ and dogs/."
        )
    if _PARTS.issuperset(name.lower() for name in names):
        raise ValueError(
            f"The folders in {root} ({', '.join(names)}) look like parts of a data set, not like "
            "classes. Give a folder of classes; the parts are made from it."
        )
    per_class = [files_below(folder, {_identity(root)}) for folder in folders]
    labels = np.repeat(np.arange(len(folders)), [len(files) for files in per_class])
    return names, [path for files in per_class for path in files], labels


def files_below(folder: Path, seen: set[tuple[int, int]]) -> list[Path]:
    """Return the files below a folder in sorted order, going into no folder twice (link loops)."""
    seen.add(_identity(folder))
    files: list[Path] = []
    for entry in _entries(folder):
        if not entry.is_dir():
            files.append(entry)
        elif _identity(entry) not in seen:
            files += files_below(entry, seen)
    return files


def _entries(folder: Path) -> list[Path]:
    return sorted(
        entry
        for entry in folder.iterdir()
        if not entry.name.startswith(".") and entry.name.lower() not in _CLUTTER
    )


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _check_counts(root: Path, names: tuple[str, ...], labels: np.ndarray) -> None:
    counts = np.bincount(labels, minlength=len(names))
    few = [f"{name} ({count})" for name, count in zip(names, counts, strict=True) if count < _LEAST]
    if few:
        raise ValueError(
            f"Each class in {root} needs at least {_LEAST} readable images, one for each of "
            f"training, validation and test; too few in: {', '.join(few)}."
        )


def _read_all(files: ImageFiles, pixels: np.ndarray | None, skip_bad: bool) -> np.ndarray:
    """Read every file once, into `pixels` if given, and return the indices of the good ones."""

    def problem(index: int) -> str:
        try:
            image = files.read(index)
        except (ValueError, OSError) as error:
            return str(error)
        if pixels is not None:
            pixels[index] = image
        return ""

    results = threads().map(problem, range(len(files)))
    problems = list(track(results, len(files), "Reading images"))
    bad = [text for text in problems if text]
    if bad:
        listed = "".join(f"\n  {text}" for text in bad[:_LISTED])
        more = f"\n  and {len(bad) - _LISTED} more" if len(bad) > _LISTED else ""
        text = f"{len(bad)} of {len(files)} files cannot be read as images:{listed}{more}\n"
        if not skip_bad:
            raise ValueError(
                text + "Repair or remove them, or go on without them by skip_bad=True (--skip-bad)."
            )
        warnings.warn(text + "They are left out.", stacklevel=3)
    return np.array([index for index, text in enumerate(problems) if not text], int)
