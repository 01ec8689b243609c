"""A folder of photos as a data set: one folder per class, images of any size."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_dlcourse._checks import check_integer, check_one_of
from keras_dlcourse._files import user_path
from keras_dlcourse._moved import renamed_arguments
from keras_dlcourse._progress import track
from keras_dlcourse.data.datasets import Dataset, SourceFiles
from keras_dlcourse.data.image_files import ImageFiles, threads
from keras_dlcourse.data.listing import (
    class_folders,
    display_name,
    files_below,
    identify,
)
from keras_dlcourse.data.parts import check_not_parts, find_part, find_parts, list_classes
from keras_dlcourse.data.split import check_fractions, split_indices
from keras_dlcourse.edge.description.labels import check_class_names
from keras_dlcourse.edge.vision.bit_depth import check_bits
from keras_dlcourse.edge.vision.images import InvalidImage

_IN_MEMORY = 1 << 30  # bytes of pixels that are kept in memory by default
_LISTED = 10  # bad files listed in a message


@renamed_arguments(path="folder")
def image_folder(
    folder: str | os.PathLike[str],
    image_size: int | tuple[int, int] = 96,
    channels: int = 3,
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    batch_size: int = 32,
    skip_bad: bool = False,
    crop: bool = False,
    cache: bool | None = None,
    class_names: Sequence[str] | None = None,
    bits: int | None = None,
) -> Dataset:
    """Create a data set from a folder that contains one folder of images per class.

    The classes are the folder names in sorted order. Images may have any size and any format that
    Pillow reads, and may be at any depth below their class folder. Files beside the class folders,
    names that begin with a dot, `Thumbs.db`, `desktop.ini` and `__MACOSX` are ignored. Every other
    file must be an image, so that no file is dropped silently. All files are read once at the
    start.

    A folder that is already split is used as it is: it contains a folder for training and one or
    two for validation and testing (`train`, `val`, `test`; also `seg_train`, `valid`, `TestSet`),
    each with one folder per class. A part that is missing is drawn from the training part.

    Other folders named like parts of a data set (`unlabeled`, `trainA` beside `trainB`), and
    folders that contain the same subfolders, are not accepted as classes: pass the folder of one
    part, keep an existing split with `Dataset.from_parts`, or list the classes in `class_names`.

    Args:
        folder: The folder.
        image_size: Height and width to resize to, in pixels; one integer for both.
        channels: 3 for RGB, 1 for gray.
        validation: Fraction of the images of each class for validation, above 0; at least one
            image. Not used if there is a folder for validation.
        test: The same for testing.
        seed: Seed of the split and of the training order.
        batch_size: Number of images per batch.
        skip_bad: Whether to skip files that cannot be read, with a warning that lists them.
        crop: False stretches images to the size, True keeps their aspect ratio and crops the
            center. Use the same value on the device.
        cache: Whether to keep the pixels in memory; otherwise they are read again each epoch.
            None keeps them if they take up to 1 GiB.
        class_names: The folders to use as classes, in the order of their class numbers. Other
            folders are ignored. None uses all folders, in a split folder those for training.
        bits: Number of bits used by gray images that are stored with 16 bits, as in
            `keras_dlcourse.edge.read_image`. Use the same value on the device.

    Returns:
        A `Dataset` with three disjoint parts that have the same class proportions, and a
        normalization fitted on the training part only.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If files are not images (the message lists them), there are fewer than two
            classes, a class has fewer images than there are parts to draw, the folders are parts of
            a data set but not such a split, a name is not UTF-8, 16-bit images need `bits` or have
            different numbers of bits, or an argument is out of range.

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
    check_one_of("channels", channels, (1, 3), why=". 3 is RGB, 1 is gray.")
    check_integer("batch_size", batch_size)
    check_integer("seed", seed, least=0)
    check_fractions(validation=validation, test=test)
    check_bits(bits)

    root = user_path(folder)
    names, paths, labels, parts = find_examples(root, class_names)
    _check_counts(root, names, labels, parts)
    x, good = read_images(ImageFiles(paths, size, channels, crop, bits), skip_bad, cache)
    labels, parts = labels[good], parts[good]
    _check_counts(root, names, labels, parts)
    indices = _split_parts(labels, parts, {"validation": validation, "test": test}, seed)

    def part(name: str) -> tuple[Any, np.ndarray]:
        rows = indices[name]
        return x[rows] if isinstance(x, np.ndarray) else x.subset(rows), labels[rows]

    data = Dataset.from_parts(
        display_name(root.resolve()),
        part("train"),
        part("validation"),
        part("test"),
        names,
        batch_size=batch_size,
        seed=seed,
    )
    files = {name: tuple(paths[good[row]] for row in rows) for name, rows in indices.items()}
    below = {part: tuple(str(path.relative_to(root)) for path in files[part]) for part in files}
    return replace(data, files=SourceFiles(files, below))


def _split_parts(
    labels: np.ndarray, parts: np.ndarray, fractions: dict[str, float], seed: int
) -> dict[str, np.ndarray]:
    """Return the indices of each part; those without a folder are drawn from the training part."""
    drawn = {name: fraction for name, fraction in fractions.items() if name not in parts}
    rest = np.flatnonzero(parts == "train")
    indices = dict(
        zip(
            ("train", *drawn), split_indices(labels[rest], tuple(drawn.values()), seed), strict=True
        )
    )
    found = {name: rest[rows] for name, rows in indices.items()}
    return found | {name: np.flatnonzero(parts == name) for name in fractions if name not in drawn}


def _image_size(value: int | tuple[int, int]) -> tuple[int, int]:
    sizes = (value, value) if not isinstance(value, tuple | list) else tuple(value)
    if len(sizes) != 2:
        raise ValueError(f"image_size must be an integer or (height, width). Received: {value!r}")
    height, width = (check_integer("image_size", size) for size in sizes)
    return height, width


def find_examples(
    root: Path, class_names: Sequence[str] | None = None
) -> tuple[tuple[str, ...], list[Path], np.ndarray, np.ndarray]:
    """Return class names, files, and the class number and the part of each file.

    Args:
        root: A folder with one folder per class, or with folders for the parts of a data set that
            have one folder per class.
        class_names: See `find_classes`.

    Raises:
        FileNotFoundError: If `root` is not a folder.
        ValueError: See `find_classes`.
    """
    folders = class_folders(root)
    inside: dict[str, dict[str, Path]] = {}
    # Folders that are given as classes are classes, whatever they are called.
    if (class_names is None or not set(class_names) <= set(folders)) and all(
        map(find_part, folders)
    ):
        inside = {name: list_classes(path) for name, path in folders.items()}
    parts = find_parts(inside)
    if not parts:
        names, paths, labels = find_classes(root, class_names)
        return names, paths, labels, np.full(len(paths), "train")
    train = root / parts["train"]
    names = _choose_classes(train, inside[parts["train"]], class_names)
    found = [
        (path, number, part)
        for part, folder in parts.items()
        for number, name in enumerate(names)
        if name in inside[folder]
        for path in files_below(inside[folder][name], {identify(root)})
    ]
    labels = np.array([number for _, number, _ in found], int)
    return names, [path for path, *_ in found], labels, np.array([part for *_, part in found])


def find_classes(
    root: Path, class_names: Sequence[str] | None = None
) -> tuple[tuple[str, ...], list[Path], np.ndarray]:
    """Return class names, files, and the class number of each file.

    Args:
        root: A folder with one folder per class.
        class_names: The folders to use as classes, in the order of their numbers; all if None.

    Raises:
        FileNotFoundError: If `root` is not a folder.
        ValueError: If there are fewer than two classes, a folder in `class_names` is missing, or
            the folders look like parts of a data set and `class_names` is None.
    """
    folders = class_folders(root)
    if class_names is None and len(folders) > 1:
        check_not_parts(root, folders)
    names = _choose_classes(root, folders, class_names)
    per_class = [files_below(folders[name], {identify(root)}) for name in names]
    labels = np.repeat(np.arange(len(names)), [len(files) for files in per_class])
    return names, [path for files in per_class for path in files], labels


def _choose_classes(
    root: Path, folders: dict[str, Path], class_names: Sequence[str] | None
) -> tuple[str, ...]:
    """Return the names of the folders to use as classes."""
    if len(folders) < 2:
        found = f"only the folder {next(iter(folders))}" if folders else "no folders"
        raise ValueError(
            f"{root} contains {found}. It must contain one folder of images for each of two or "
            "more classes, e.g. cats/ and dogs/."
        )
    names = tuple(folders) if class_names is None else check_class_names(class_names)
    if missing := [name for name in names if name not in folders]:
        raise ValueError(
            f"class_names must be folders in {root}. Missing: {', '.join(missing)}. Available: "
            f"{', '.join(folders)}"
        )
    if len(names) < 2:
        raise ValueError(f"class_names must name two or more classes. Received: {list(names)}")
    return names


def _check_counts(
    root: Path, names: tuple[str, ...], labels: np.ndarray, parts: np.ndarray
) -> None:
    """Raise ValueError unless each part gets an image of each class."""
    drawn = ["training", *(part for part in ("validation", "test") if part not in parts)]
    counts = np.bincount(labels[parts == "train"], minlength=len(names))
    few = [
        f"{name} ({count})" for name, count in zip(names, counts, strict=True) if count < len(drawn)
    ]
    if few:
        *first, last = drawn
        needed = f"one for each of {', '.join(first)} and {last}" if first else "for training"
        raise ValueError(
            f"Each class in {root} needs at least {len(drawn)} readable "
            f"image{'s'[: len(drawn) != 1]}, {needed}; too few in: {', '.join(few)}."
        )


def read_images(
    files: ImageFiles, skip_bad: bool, cache: bool | None = None
) -> tuple[np.ndarray | ImageFiles, np.ndarray]:
    """Read every file once, to find unreadable files before a long training starts.

    Args:
        files: The files.
        skip_bad: Whether to skip unreadable files, with a warning that lists them. The warning
            points to the caller of `image_folder`.
        cache: Whether to keep the pixels in memory; None keeps them if they take up to 1 GiB.

    Returns:
        The readable images, as an array or as unread files, and their indices in `files`.

    Raises:
        ValueError: If there are unreadable files and `skip_bad` is False.
    """
    if cache is None:
        cache = int(np.prod(files.shape, dtype=np.int64)) <= _IN_MEMORY
    pixels = np.empty(files.shape, np.uint8) if cache else None

    def problem(index: int) -> str:
        try:
            image = files.read(index)
        except (InvalidImage, OSError) as error:
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
                text + "Repair or remove them, or skip them with skip_bad=True (--skip-bad)."
            )
        warnings.warn(text + "They are skipped.", stacklevel=4)  # to who calls image_folder
    good = np.array([index for index, text in enumerate(problems) if not text], int)
    if pixels is None:
        return files.subset(good), good
    return pixels[good] if bad else pixels, good
