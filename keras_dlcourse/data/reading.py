"""From image files with labels to a data set: read them, split them, normalize."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_dlcourse._checks import check_folder, check_integer, check_one_of
from keras_dlcourse._progress import track
from keras_dlcourse.data.image_cache import ImageCache, check_cache, default_folder
from keras_dlcourse.data.image_files import ImageFiles
from keras_dlcourse.data.split import check_fractions, split_indices
from keras_dlcourse.edge.vision.bit_depth import check_bits

if TYPE_CHECKING:
    from keras_dlcourse.data.datasets import Dataset

_IN_MEMORY = 1 << 30  # bytes of pixels that are kept in memory by default
_SHARE = 0.5  # of the free space on a disk, that a cache may take that nobody has asked for
_LISTED = 10  # files listed in a message
_PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class FoundImages:
    """Image files that have been found, but not read.

    Attributes:
        name: Name of the data set.
        place: The folder or table, for messages.
        class_names: The classes, in the order of their numbers.
        paths: The files.
        names: What the files are called in messages: their path from the data set's folder.
        labels: Class numbers `(n,)`, or `(n, classes)` if a file may have several classes: 1 where
            a class is present, 0 where it is absent, -1 where that is unknown. For masks, the
            number of pixels of each class.
        parts: The part of each file, `"train"`, `"validation"` or `"test"`. Parts that do not occur
            are drawn from `"train"`.
        columns: Further facts about each file by name, from which groups can be made.
    """

    name: str
    place: Path
    class_names: tuple[str, ...]
    paths: list[Path]
    names: list[str]
    labels: np.ndarray
    parts: np.ndarray
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)

    def subset(self, rows: np.ndarray) -> FoundImages:
        """Return some of the files."""
        return replace(
            self,
            paths=[self.paths[row] for row in rows],
            names=[self.names[row] for row in rows],
            labels=self.labels[rows],
            parts=self.parts[rows],
            columns={name: values[rows] for name, values in self.columns.items()},
        )


@dataclass(frozen=True)
class ImageReader:
    """How image files become a `Dataset`: the arguments that `kd.data.image_folder` documents."""

    image_size: int | tuple[int, int]
    channels: int
    validation: float
    test: float
    seed: int
    batch_size: int
    skip_bad: bool
    crop: bool
    cache: bool | str | os.PathLike[str] | None
    bits: int | None
    group_by: str | None

    def __post_init__(self) -> None:
        _image_size(self.image_size)
        check_one_of("channels", self.channels, (1, 3), why=". 3 is RGB, 1 is gray.")
        check_integer("batch_size", self.batch_size)
        check_integer("seed", self.seed, least=0)
        check_fractions(validation=self.validation, test=self.test)
        check_bits(self.bits)
        if self.cache is not None and not isinstance(self.cache, bool):
            check_folder("cache", self.cache)

    def read(self, found: FoundImages) -> Dataset:
        """Read the files, split them, and return the data set."""
        if self.group_by is not None:
            find_groups(found, self.group_by)
        check_counts(found, by_example=self.group_by is None)
        x, good, unreadable = self._read_files(self.files(found), found.place)
        found = found.subset(good)
        return self.split(found, x, found.labels, unreadable)

    def files(self, found: FoundImages) -> ImageFiles:
        """Return the images as an array that is read on access."""
        size = _image_size(self.image_size)
        return ImageFiles(found.paths, size, self.channels, self.crop, self.bits)

    def split(self, found: FoundImages, x: Any, y: Any, unreadable: Sequence[str] = ()) -> Dataset:
        """Split images that have been read, by the labels in `found`, and return the data set.

        Args:
            found: The files that were read.
            x: Their pixels, an array or files that are read on access.
            y: What is to be learned of each: the same labels, or masks.
            unreadable: What is wrong with each file that was skipped.
        """
        from keras_dlcourse.data.datasets import Dataset, SourceFiles  # imports Keras

        groups = None if self.group_by is None else find_groups(found, self.group_by)
        fractions = {"validation": self.validation, "test": self.test}
        drawn = {name: fractions[name] for name in list_drawn(found)}
        check_counts(found, by_example=groups is None)
        indices = split_parts(found, drawn, self.seed, groups)

        def part(name: str) -> tuple[Any, Any]:
            rows = indices[name]
            images, labels = (
                values[rows] if isinstance(values, np.ndarray) else values.subset(rows)
                for values in (x, y)
            )
            return images, labels

        names = {
            part: tuple(found.names[row] for row in rows.tolist()) for part, rows in indices.items()
        }
        paths = {
            part: tuple(found.paths[row] for row in rows.tolist()) for part, rows in indices.items()
        }
        return replace(
            Dataset.from_parts(
                found.name,
                part("train"),
                part("validation"),
                part("test"),
                found.class_names,
                batch_size=self.batch_size,
                seed=self.seed,
            ),
            files=SourceFiles(paths, names, tuple(unreadable)),
        )

    def _read_files(self, files: ImageFiles, place: Path) -> _ReadFiles:
        """Read the files, and keep their pixels where `cache` says, or where they fit."""
        if isinstance(self.cache, bool):
            return read_files(files, self.skip_bad, self.cache)
        if self.cache is not None:
            cache = ImageCache(check_cache(self.cache, place), place)
            return read_files(files, self.skip_bad, cache)
        if is_kept(files, None):
            return read_files(files, self.skip_bad, True)
        try:
            return read_files(files, self.skip_bad, ImageCache(default_folder(), place, _SHARE))
        except OSError as error:
            warnings.warn(
                "The decoded images do not fit into memory, and cannot be kept on disk, so they "
                f"are decoded again in each epoch, which takes longer: {error}",
                stacklevel=_level_of_caller(),
            )
            return read_files(files, self.skip_bad, False)


def _image_size(value: int | tuple[int, int]) -> tuple[int, int]:
    sizes = (value, value) if not isinstance(value, tuple | list) else tuple(value)
    if len(sizes) != 2:
        raise ValueError(f"image_size must be an integer or (height, width). Received: {value!r}")
    height, width = (check_integer("image_size", size) for size in sizes)
    return height, width


def list_drawn(found: FoundImages) -> list[str]:
    """Return the parts that are drawn from the training part."""
    return [part for part in _PARTS[1:] if part not in found.parts]


def check_counts(found: FoundImages, by_example: bool = True) -> None:
    """Raise ValueError unless each part gets an image of each class.

    Args:
        found: The files.
        by_example: Whether the parts are drawn by example, not by group.
    """
    parts = ["training", *list_drawn(found)] if by_example else ["training"]
    labels = found.labels[found.parts == "train"]
    classes = len(found.class_names)
    if labels.ndim == 2:
        counts = (labels > 0).sum(axis=0)
    else:
        counts = np.bincount(labels, minlength=classes)
    few = [
        f"{name} ({count})"
        for name, count in zip(found.class_names, counts, strict=True)
        if count < len(parts)
    ]
    if few:
        *first, last = parts
        needed = f"one for each of {', '.join(first)} and {last}" if first else "for training"
        raise ValueError(
            f"Each class in {found.place} needs at least {len(parts)} readable "
            f"image{'s'[: len(parts) != 1]}, {needed}; too few in: {', '.join(few)}."
        )


def split_parts(
    found: FoundImages, drawn: Mapping[str, float], seed: int, groups: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Return the indices of each part; those in `drawn` are drawn from the training part."""
    rest = np.flatnonzero(found.parts == "train")
    labels = found.labels[rest]
    if groups is not None:
        _check_groups_of_parts(found.parts, groups)
        if labels.ndim == 1:  # so that messages have the names of classes
            labels = np.array(found.class_names)[labels]
    drawn_rows = split_indices(
        labels, tuple(drawn.values()), seed, None if groups is None else groups[rest]
    )
    indices = {name: rest[rows] for name, rows in zip(("train", *drawn), drawn_rows, strict=True)}
    return {
        name: indices[name] if name in indices else np.flatnonzero(found.parts == name)
        for name in _PARTS
    }


def find_groups(found: FoundImages, group_by: str) -> np.ndarray:
    """Return the group of each file, `(n,)` str.

    Args:
        found: The files.
        group_by: The name of one of their columns, or a regular expression with one group that is
            searched for in the file's path from the data set's folder.

    Raises:
        TypeError: If `group_by` is not a string.
        ValueError: If it is not a column or such an expression, or is not found in some paths.
    """
    if not isinstance(group_by, str):
        raise TypeError(f"group_by must be a string. Received: {group_by!r}")
    if group_by in found.columns:
        return found.columns[group_by]
    columns = f"one of the columns {', '.join(found.columns)}, or " if found.columns else ""
    expected = f"group_by must be {columns}a regular expression with one group in parentheses, "
    expected += r"such as 'patient(\d+)'"
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        raise ValueError(f"{expected}. Received: {group_by!r} ({error})") from None
    if pattern.groups != 1:
        raise ValueError(f"{expected}. Received: {group_by!r}, with {pattern.groups} groups")
    matches = [pattern.search(name) for name in found.names]
    values = [None if match is None else match.group(1) for match in matches]
    if missing := [name for name, value in zip(found.names, values, strict=True) if value is None]:
        raise ValueError(
            f"group_by must match the path of each file. Received: {group_by!r}, which does not "
            f"match {len(missing)} of {len(values)}: {list_some(missing)}"
        )
    return np.array(values)


def _check_groups_of_parts(parts: np.ndarray, groups: np.ndarray) -> None:
    """Raise ValueError if a group is in several of the parts in which the data are stored."""
    pairs = sorted({*zip(groups.tolist(), parts.tolist(), strict=True)})
    places: dict[str, list[str]] = {}
    for group, part in pairs:
        places.setdefault(group, []).append(part)
    if several := [f"{group} ({', '.join(of)})" for group, of in places.items() if len(of) > 1]:
        raise ValueError(
            "group_by must be such that each group is in one part of data that are already split. "
            f"Received: {len(several)} groups in several parts: {list_some(several)}. Merge the "
            "parts, so that they are split by group, or omit group_by."
        )


def list_some(texts: list[str]) -> str:
    """Return the first few texts as a list."""
    more = f" and {len(texts) - _LISTED} more" if len(texts) > _LISTED else ""
    return ", ".join(texts[:_LISTED]) + more


def is_kept(files: ImageFiles, cache: bool | str | os.PathLike[str] | None) -> bool:
    """Return whether to keep the pixels of files in memory; None keeps them if they fit."""
    return files.nbytes <= _IN_MEMORY if cache is None else cache is True


_ReadFiles = tuple[np.ndarray | ImageFiles, np.ndarray, list[str]]


def read_files(files: ImageFiles, skip_bad: bool, cache: bool | ImageCache = False) -> _ReadFiles:
    """Read every file once, to find unreadable files before a long training starts.

    Args:
        files: The files.
        skip_bad: Whether to skip unreadable files, with a warning that lists them. The warning
            points to who called this package.
        cache: Whether to keep the pixels in memory, or where to keep them on disk.

    Returns:
        The readable images, as an array or as files that are read on access, their indices in
        `files`, and what is wrong with each of the others.

    Raises:
        ValueError: If there are unreadable files and `skip_bad` is False.
        OSError: If the cache cannot be written.
    """
    images, problems = cache.read(files) if isinstance(cache, ImageCache) else _read(files, cache)
    if problems:
        bad = list(problems.values())
        listed = "".join(f"\n  {text}" for text in bad[:_LISTED])
        more = f"\n  and {len(bad) - _LISTED} more" if len(bad) > _LISTED else ""
        text = f"{len(bad)} of {len(files)} files cannot be read as images:{listed}{more}\n"
        if not skip_bad:
            raise ValueError(
                text + "Repair or remove them, or skip them with skip_bad=True (--skip-bad)."
            )
        warnings.warn(text + "They are skipped.", stacklevel=_level_of_caller())
    good = np.array([index for index in range(len(files)) if index not in problems], int)
    if not isinstance(images, np.ndarray):
        return images.subset(good), good, [*problems.values()]
    return images[good] if problems else images, good, [*problems.values()]


def _read(files: ImageFiles, in_memory: bool) -> tuple[np.ndarray | ImageFiles, dict[int, str]]:
    """Return the images, in memory or unread, and what is wrong with files, by their index."""
    pixels = np.empty(files.shape, np.uint8) if in_memory else None
    problems = {}
    for index, image in enumerate(track(files.read_each(), len(files), "Reading images")):
        if isinstance(image, str):
            problems[index] = image
        elif pixels is not None:
            pixels[index] = image
    return files if pixels is None else pixels, problems


def _level_of_caller() -> int:
    """Return the `stacklevel`, for the function that calls this, of who called this package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("keras_dlcourse."):
        level, frame = level + 1, frame.f_back
    return level
