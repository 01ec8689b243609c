"""The split of a run by content: which images it trained on, wherever they are by now."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_dlcourse._files import user_path
from keras_dlcourse._progress import track
from keras_dlcourse.data.image_files import threads
from keras_dlcourse.saving.checkpoints import sha256_of
from keras_dlcourse.training.run.run_folder import RunFolder

FILES, PIXELS, NUMBERS = "files", "pixels", "numbers"
_DIGITS = 32  # of a SHA-256 in hexadecimal: 128 bits tell any number of images apart
_ROWS = 256  # images read at a time


@dataclass(frozen=True)
class SplitRecord:
    """The images of each part of a run, each by its SHA-256.

    Attributes:
        of: What was hashed: the bytes of the `"files"`, which do not depend on how they are
            decoded and resized; for arrays the `"pixels"`, or `"numbers"` that are not pixels.
        train: The first 32 digits of each image's SHA-256, in the order of the part.
        validation: The same.
        test: The same.
    """

    of: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> SplitRecord | None:
        """Return the record in the folder of a run; None if it has none."""
        path = user_path(folder) / RunFolder.SPLIT
        if not path.exists():
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls(content["of"], *(tuple(content[part]) for part in _PARTS))

    def find_uses(self, paths: Sequence[Path], images: Any) -> np.ndarray:
        """Return what the run used each image for.

        An image that is in several parts counts as used for training, then for validation.

        Args:
            paths: Image files.
            images: Their pixels as the model takes them, `(n, height, width, channels)`; read only
                if the record is one of pixels.

        Returns:
            `"train"`, `"validation"`, `"test"` or `""` for each, `(n,)`.
        """
        digests = digest_files(paths) if self.of == FILES else digest_arrays(images)
        uses = {digest: part for part in reversed(_PARTS) for digest in getattr(self, part)}
        return np.array([uses.get(digest, "") for digest in digests], "U10")


_PARTS = ("train", "validation", "test")


def is_used(uses: np.ndarray) -> np.ndarray:
    """Whether the run knows each image, so that its model does too well on it.

    Args:
        uses: What `find_uses` returns.

    Returns:
        `(n,)` bool: True for training, and for validation, which chose the weights.
    """
    return np.isin(uses, _PARTS[:2])


def record_split(data: Any, folder: RunFolder) -> None:
    """Write `split.json`: the images of each part by their content.

    Data without images, such as several inputs, is not recorded. The record of a run that is
    resumed must be the same.

    Args:
        data: The data of the run.
        folder: The folder of the run.

    Raises:
        ValueError: If the run to resume was started with other images, or with another split.
    """
    parts = [getattr(getattr(data, part), "x", None) for part in _PARTS]
    if not all(hasattr(images, "shape") for images in parts):
        return
    files = list_files(data)
    if files is not None:
        record = SplitRecord(FILES, *map(digest_files, files))
    else:
        of = PIXELS if all(map(_are_pixels, parts)) else NUMBERS
        record = SplitRecord(of, *map(digest_arrays, parts))
    before = SplitRecord.read(folder.path)
    if before is not None and before != record:
        raise ValueError(
            f"data must have the images and the split of the run in {folder.path}. Received: "
            f"{_describe_change(before, record)}. Use the same data, or start a new run."
        )
    folder.write_json(folder.split, asdict(record))


def list_files(data: Any) -> list[Sequence[Path]] | None:
    """Return the image files of each part; None if not all parts were read from files."""
    source = getattr(data, "files", None)
    known = {} if source is None else source.paths
    found = [known.get(part, getattr(getattr(data, part).x, "paths", None)) for part in _PARTS]
    files = [paths for paths in found if paths is not None]
    return files if len(files) == len(found) else None


def digest_files(paths: Sequence[Path]) -> tuple[str, ...]:
    """Return the start of the SHA-256 of each file, in hexadecimal."""
    found = threads().map(sha256_of, paths)
    return tuple(digest[:_DIGITS] for digest in track(found, len(paths), "Recording the split"))


def digest_arrays(images: Any) -> tuple[str, ...]:
    """Return the start of the SHA-256 of each image's pixels, in hexadecimal.

    Args:
        images: An array or images that are read on access, `(n, ...)`. Floats that are pixels have
            the same digests as these.
    """
    return tuple(hashlib.sha256(image).hexdigest()[:_DIGITS] for image in _list_rows(images))


def _list_rows(images: Any) -> Iterator[bytes]:
    """Yield the bytes of each image; pixels as uint8, whatever type they are stored in."""
    for rows in _read(images):
        yield from (image.tobytes() for image in (rows.astype("uint8") if _fit(rows) else rows))


def _are_pixels(images: Any) -> bool:
    """Whether an array has whole numbers from 0 to 255 only; images read from files do."""
    return images.dtype == np.uint8 or all(map(_fit, _read(images)))


def _read(images: Any) -> Iterator[np.ndarray]:
    """Yield an array, or images that are read on access, in pieces."""
    for start in range(0, len(images), _ROWS):
        yield np.asarray(images[start : start + _ROWS])


def _fit(rows: np.ndarray) -> bool:
    return bool((rows == rows.astype("uint8", casting="unsafe")).all())


def _describe_change(before: SplitRecord, after: SplitRecord) -> str:
    if before.of != after.of:
        return f"{after.of} where that run has {before.of}"
    return ", ".join(
        f"another {part} part" for part in _PARTS if getattr(before, part) != getattr(after, part)
    )
