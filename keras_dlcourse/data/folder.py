"""A folder of photos as a data set: one folder per class, images of any size."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_dlcourse._files import user_path
from keras_dlcourse._moved import renamed_arguments
from keras_dlcourse.data.listing import (
    class_folders,
    display_name,
    display_path,
    files_below,
    identify,
)
from keras_dlcourse.data.parts import check_not_parts, find_part, find_parts, list_classes
from keras_dlcourse.data.reading import FoundImages, ImageReader
from keras_dlcourse.edge.description.labels import check_class_names

if TYPE_CHECKING:
    from keras_dlcourse.data.datasets import Dataset


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
    cache: bool | str | os.PathLike[str] | None = None,
    class_names: Sequence[str] | None = None,
    bits: int | None = None,
    group_by: str | None = None,
) -> Dataset:
    r"""Create a data set from a folder that contains one folder of images per class.

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
        cache: Where to keep the decoded and resized pixels after they have been read once: True for
            in memory, a folder for on disk, False for nowhere, so that they are decoded again in
            each epoch. None keeps up to 1 GiB in memory, and more in `~/.keras/keras_dlcourse`
            if they take up to half of the free space there. A cache on disk is used again as long
            as no file has changed; it can be deleted at any time.
        class_names: The folders to use as classes, in the order of their class numbers. Other
            folders are ignored. None uses all folders, in a split folder those for training.
        bits: Number of bits used by gray images that are stored with 16 bits, as in
            `keras_dlcourse.edge.read_image`. Use the same value on the device.
        group_by: Regular expression with one group in parentheses, which is searched for in the
            path of each file below the folder, such as `r"patient(\d+)"`. Images with the same
            text there, of one patient or camera, are put in the same part.

    Returns:
        A `Dataset` with three disjoint parts that have the same class proportions, and a
        normalization fitted on the training part only.

    Raises:
        FileNotFoundError: If the folder does not exist.
        OSError: If the folder in `cache` cannot be written to, or has too little space.
        ValueError: If files are not images (the message lists them), there are fewer than two
            classes, a class has fewer images than there are parts to draw, the folders are parts of
            a data set but not such a split, a name is not UTF-8, 16-bit images need `bits` or have
            different numbers of bits, `group_by` does not match a path or puts a class in fewer
            groups than there are parts to draw, or an argument is out of range.

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
    reader = ImageReader(
        image_size=image_size,
        channels=channels,
        validation=validation,
        test=test,
        seed=seed,
        batch_size=batch_size,
        skip_bad=skip_bad,
        crop=crop,
        cache=cache,
        bits=bits,
        group_by=group_by,
    )
    return reader.read(find_images(user_path(folder), class_names))


def find_images(root: Path, class_names: Sequence[str] | None = None) -> FoundImages:
    """Find the images of a data set.

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
    if parts:
        train = root / parts["train"]
        names = _choose_classes(train, inside[parts["train"]], class_names)
        found = [
            (path, number, part)
            for part, folder in parts.items()
            for number, name in enumerate(names)
            if name in inside[folder]
            for path in files_below(inside[folder][name], {identify(root)})
        ]
    else:
        names, files, numbers = find_classes(root, class_names)
        found = [
            (path, number, "train") for path, number in zip(files, numbers.tolist(), strict=True)
        ]
    paths = [path for path, *_ in found]
    return FoundImages(
        name=display_name(root.resolve()),
        place=root,
        class_names=names,
        paths=paths,
        names=[display_path(path.relative_to(root)) for path in paths],
        labels=np.array([number for _, number, _ in found], int),
        parts=np.array([part for *_, part in found], str),
    )


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
        tables = sorted(root.glob("*.csv"))
        hint = f" To use the labels in a table, pass the table: {tables[0]}" if tables else ""
        raise ValueError(
            f"{root} contains {found}. It must contain one folder of images for each of two or "
            f"more classes, e.g. cats/ and dogs/.{hint}"
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
