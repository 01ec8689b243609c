"""A folder of photos as a data set: one folder per class, images of any size."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_dlcourse._checks import check_integer, check_one_of
from keras_dlcourse._files import user_path
from keras_dlcourse._moved import renamed_arguments
from keras_dlcourse._progress import track
from keras_dlcourse.data.datasets import Dataset
from keras_dlcourse.data.image_files import ImageFiles, threads
from keras_dlcourse.data.split import check_fractions, split_indices
from keras_dlcourse.edge.description.labels import check_class_names
from keras_dlcourse.edge.vision.bit_depth import check_bits
from keras_dlcourse.edge.vision.images import InvalidImage

# Left behind by desktops and archivers; names that begin with a dot are ignored as well.
_CLUTTER = {"thumbs.db", "desktop.ini", "__macosx"}
# Words in the names of folders that contain one part of a data set.
_PARTS = {
    *("train", "training", "trainset", "test", "testing", "testset", "val", "valid", "valset"),
    *("validation", "dev", "eval", "evaluation", "holdout", "unlabeled", "unlabelled", "augmented"),
}
_IN_MEMORY = 1 << 30  # bytes of pixels that are kept in memory by default
_LISTED = 10  # bad files listed in a message
_LEAST = 3  # images per class: one for each part


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

    Folders named like parts of a data set (`train`, `seg_test`, `val_images`, `unlabeled`), and
    folders that contain the same subfolders, are not accepted as classes: pass the folder of one
    part, keep an existing split with `Dataset.from_parts`, or list the classes in `class_names`.

    Args:
        folder: The folder.
        image_size: Height and width to resize to, in pixels; one integer for both.
        channels: 3 for RGB, 1 for gray.
        validation: Fraction of the images of each class for validation, above 0; at least one
            image.
        test: Fraction of the images of each class for testing, above 0; at least one image.
        seed: Seed of the split and of the training order.
        batch_size: Number of images per batch.
        skip_bad: Whether to skip files that cannot be read, with a warning that lists them.
        crop: False stretches images to the size, True keeps their aspect ratio and crops the
            center. Use the same value on the device.
        cache: Whether to keep the pixels in memory; otherwise they are read again each epoch.
            None keeps them if they take up to 1 GiB.
        class_names: The folders to use as classes, in the order of their class numbers. Other
            folders are ignored. None uses all folders.
        bits: Number of bits used by gray images that are stored with 16 bits, as in
            `keras_dlcourse.edge.read_image`. Use the same value on the device.

    Returns:
        A `Dataset` with three disjoint parts that have the same class proportions, and a
        normalization fitted on the training part only.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If files are not images (the message lists them), there are fewer than two
            classes, a class has fewer than three images, the folders are parts of a data set, a
            name is not UTF-8, 16-bit images need `bits` or have different numbers of bits, or an
            argument is out of range.

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
    names, paths, labels = find_classes(root, class_names)
    _check_counts(root, names, labels)
    x, good = read_images(ImageFiles(paths, size, channels, crop, bits), skip_bad, cache)
    labels = labels[good]
    _check_counts(root, names, labels)

    def part(indices: np.ndarray) -> tuple[Any, np.ndarray]:
        return x[indices] if isinstance(x, np.ndarray) else x.subset(indices), labels[indices]

    train, held_out, last = map(part, split_indices(labels, (validation, test), seed))
    return Dataset.from_parts(
        display_name(root.resolve()), train, held_out, last, names, batch_size=batch_size, seed=seed
    )


def _image_size(value: int | tuple[int, int]) -> tuple[int, int]:
    sizes = (value, value) if not isinstance(value, tuple | list) else tuple(value)
    if len(sizes) != 2:
        raise ValueError(f"image_size must be an integer or (height, width). Received: {value!r}")
    height, width = (check_integer("image_size", size) for size in sizes)
    return height, width


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
    if len(folders) < 2:
        found = f"only the folder {next(iter(folders))}" if folders else "no folders"
        raise ValueError(
            f"{root} contains {found}. It must contain one folder of images for each of two or "
            "more classes, e.g. cats/ and dogs/."
        )
    names = None if class_names is None else check_class_names(class_names)
    if names is None:
        _check_not_parts(root, folders)
        names = tuple(folders)
    if missing := [name for name in names if name not in folders]:
        raise ValueError(
            f"class_names must be folders in {root}. Missing: {', '.join(missing)}. Available: "
            f"{', '.join(folders)}"
        )
    if len(names) < 2:
        raise ValueError(f"class_names must name two or more classes. Received: {list(names)}")
    per_class = [files_below(folders[name], {_identity(root)}) for name in names]
    labels = np.repeat(np.arange(len(names)), [len(files) for files in per_class])
    return names, [path for files in per_class for path in files], labels


def class_folders(root: Path) -> dict[str, Path]:
    """Return the folders in `root` by name. Names are decoded the same way in every locale.

    Raises:
        FileNotFoundError: If `root` is not a folder.
        ValueError: If a folder name is not a valid class name.
    """
    if not root.is_dir():
        raise FileNotFoundError(
            f"{root} is not a folder. Pass a folder that contains one folder of images per class."
        )
    folders = {_class_name(entry): entry for entry in _entries(root) if entry.is_dir()}
    return dict(sorted(folders.items()))


def _class_name(folder: Path) -> str:
    """Return the name of a folder as one line of text that can be stored in any file."""
    raw = os.fsencode(folder.name)  # the bytes on disk: how Python decodes them varies
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(
            "Names of class folders must be UTF-8, because they are stored in the model's files. "
            f"Received: {raw!r} in {display_name(folder.parent)}. Rename that folder."
        ) from None
    if name.splitlines() != [name] or not name.strip():
        raise ValueError(
            f"Names of class folders must be one line of text. Received: {name!r} in "
            f"{folder.parent}. Rename that folder."
        )
    return name


def display_name(path: Path) -> str:
    """Return the name of a file or folder as text, in any locale and for any bytes."""
    return os.fsencode(path.name).decode("utf-8", "replace")


def _check_not_parts(root: Path, folders: dict[str, Path]) -> None:
    """Raise ValueError if folders are parts of a data set, judging by their names and contents."""
    parts = [name for name in folders if _is_part(name)]
    held = [inside for folder in folders.values() if (inside := _subfolders(folder))]
    shared = sorted(set.intersection(*held)) if len(held) > 1 else []
    reasons = []
    if parts:
        reasons.append(f"{', '.join(parts)} are named like parts of a data set")
    if len(shared) > 1:  # a single one is a common layout, as in cat/images/ and dog/images/
        listed = ", ".join(shared[:_LISTED]) + (", ..." if len(shared) > _LISTED else "")
        reasons.append(f"{len(held)} of them contain the same folders ({listed})")
    if reasons:
        candidates = parts or list(folders)
        example = root / min(candidates, key=lambda name: "train" not in name.lower())
        raise ValueError(
            f"The folders in {root} ({', '.join(folders)}) must be classes, but "
            f"{' and '.join(reasons)}. Pass the folder of one part, e.g. {example}, which is "
            "then split; or keep your own split with kd.data.Dataset.from_parts (see docs/data.md);"
            " or, if they are classes, list all classes in class_names=[...] (--classes)."
        )


def _is_part(name: str) -> bool:
    """Return whether a folder is named like a part: train, seg_test, ValImages, train2017."""
    words = [word.lower() for word in re.findall("[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    return not _PARTS.isdisjoint([*words, "".join(words)])


def _subfolders(folder: Path) -> set[str]:
    with os.scandir(folder) as entries:  # avoids a stat call for each file
        return {
            display_name(Path(entry.name))
            for entry in entries
            if entry.is_dir() and not _is_clutter(entry.name)
        }


def files_below(folder: Path, seen: set[tuple[int, int]]) -> list[Path]:
    """Return the files below a folder in sorted order, visiting each folder once (link loops)."""
    seen.add(_identity(folder))
    files: list[Path] = []
    for entry in _entries(folder):
        if not entry.is_dir():
            files.append(entry)
        elif _identity(entry) not in seen:
            files += files_below(entry, seen)
    return files


def _entries(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not _is_clutter(entry.name))


def _is_clutter(name: str) -> bool:
    return name.startswith(".") or name.lower() in _CLUTTER


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
