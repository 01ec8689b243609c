"""Decoded images in a file on disk, for data sets that do not fit into memory.

Decoding and resizing a photo takes about a hundred times as long as reading its resized pixels.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import os
import shutil
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_dlcourse._extras import require
from keras_dlcourse._files import (
    check_usable,
    keras_home,
    remove_leftovers,
    write_atomically,
    write_text,
)
from keras_dlcourse._progress import track
from keras_dlcourse.data.image_files import ImageFiles, threads
from keras_dlcourse.data.listing import display_name
from keras_dlcourse.edge.vision import bit_depth, images

_LOCK = ".lock"
_DIGITS = 32  # of a SHA-256 in hexadecimal, in the name of a file
_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_SHORT, _NAME = 16, 40  # digits of one, and characters of a data set's name, in that of a folder


@dataclass(frozen=True)
class ImageCache:
    """Where the decoded images of a data set are kept.

    They are in a folder of their own. The name of the file with the pixels is a SHA-256 of
    everything they depend on: the path, size and times of change of each file, and how they are
    decoded and resized. So a data set that has changed gets a new file, and the old one is deleted.
    A file that is not complete has another name, and is deleted as well.

    Attributes:
        folder: The folder for the caches of all data sets.
        place: The folder or table of the data set.
        share: The cache is written if its size is at most this share of the free space.
    """

    folder: Path
    place: Path
    share: float = 0.95

    def read(self, files: ImageFiles) -> tuple[CachedImages, dict[int, str]]:
        """Return the same images, read from the cache, which is written if there is none.

        Args:
            files: The image files.

        Returns:
            The images, and what is wrong with the files that cannot be read, by their index. In
            the cache, these are black.

        Raises:
            OSError: If the cache cannot be written, or there is too little space for it.
        """
        require("A cache of decoded images", "tensorflow", "filelock")
        folder = self.folder / self._name_folder(files)
        path = folder / f"{_find_key(files)}.npy"
        folder.mkdir(parents=True, exist_ok=True)
        what = f"{len(files):,} decoded images ({_describe_size(files.nbytes)})"
        with _lock(folder):
            found = _open(files, path)
            if found is not None:
                _say(f"Reading {what} from the cache in {folder}")
                return found
            _clear(folder)
            self._check_space(files)
            _say(f"Caching {what} in {folder}, where they are read from now on")
            problems = _write(files, path)
            return CachedImages(files, path), problems

    def _name_folder(self, files: ImageFiles) -> str:
        """Return the name of the folder for these images, also when the files have changed."""
        place = self.place.resolve()
        told = (os.fsencode(place), files.shape[1:], files.crop, files.bits)
        digest = hashlib.sha256(repr(told).encode()).hexdigest()
        return f"{display_name(place)[:_NAME]}-{digest[:_SHORT]}"

    def _check_space(self, files: ImageFiles) -> None:
        free = shutil.disk_usage(self.folder).free
        if files.nbytes > self.share * free:
            size = "x".join(map(str, files.shape[1:]))
            needed = _describe_size(math.ceil(files.nbytes / self.share))
            raise OSError(
                f"cache must be a folder with {needed} of free space, to keep {len(files):,} "
                f"images of {size}. Received: {self.folder}, with {_describe_size(free)}. Free "
                "some space, pass another folder with cache= (--cache DIR), or decode the images "
                "in each epoch with cache=False (--cache none)."
            )


def default_folder() -> Path:
    """Return the folder for caches if the user names none: in that of Keras."""
    return keras_home() / "keras_dlcourse"


def check_cache(folder: str | os.PathLike[str], place: Path) -> Path:
    """Return the path of a folder for caches, after checking that it can be used.

    Args:
        folder: The folder.
        place: The folder or table of the data set.

    Raises:
        PermissionError: If it cannot be written to.
        ValueError: If it is in the folder of the data set, where it would be taken for a class.
    """
    path = check_usable("cache", folder)
    outer, inner = place.resolve(), path.resolve()
    if outer == inner or outer in inner.parents:
        raise ValueError(
            f"cache must be a folder outside of {place}, where folders are classes. Received: "
            f"{path}. Pass another folder."
        )
    return path


class CachedImages(ImageFiles):
    """Image files whose decoded pixels are read from a cache.

    Args:
        files: The files.
        path: The file with their pixels.

    Raises:
        OSError: If that file cannot be read.
        ValueError: If it does not have the pixels of these files.
    """

    def __init__(self, files: ImageFiles, path: Path) -> None:
        super().__init__(files.paths, files.image_size, files.channels, files.crop, files.bits)
        self._pixels = _PixelFile(path, files.shape)
        self._rows = np.arange(len(files))

    def __getitem__(self, index: Any) -> np.ndarray:
        rows = self._rows[index]
        if rows.ndim == 0:
            return self._pixels.read(int(rows))
        found = np.empty((len(rows), *self.shape[1:]), np.uint8)

        def read(positions: np.ndarray) -> None:
            for position in positions.tolist():
                found[position] = self._pixels.read(int(rows[position]))

        # Disks are faster if they are asked for several images at once.
        parts = np.array_split(np.arange(len(rows)), min(len(rows), os.cpu_count() or 1) or 1)
        list(threads().map(read, parts))
        return found

    def read(self, index: int) -> np.ndarray:
        """Read one image as `(height, width, channels)`."""
        return self._pixels.read(int(self._rows[index]))

    def subset(self, indices: np.ndarray) -> CachedImages:
        """Return a subset of the files, without reading them."""
        part: CachedImages = object.__new__(CachedImages)
        part.__dict__.update(super().subset(indices).__dict__)
        part._pixels, part._rows = self._pixels, self._rows[indices]
        return part


def _seek_and_read(descriptor: int, size: int, offset: int) -> bytes:
    """Do what `os.pread` does, which Windows does not have."""
    with _SEEKING:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, size)


_SEEKING = threading.Lock()
_read_at = getattr(os, "pread", _seek_and_read)


class _PixelFile:
    """Images in an `.npy` file, which several threads can read, in any order.

    It stays open, so that it can be read even after it was deleted. It is not a memory map, which
    counts as memory of the process, and ends it if the disk fails.

    Args:
        path: The file.
        shape: `(n, height, width, channels)`.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self._given = path, shape
        whole = np.lib.format.open_memmap(path, mode="r")  # ValueError if it is not complete
        if (whole.shape, whole.dtype) != (shape, np.uint8):
            raise ValueError(f"{path} must have uint8 pixels of shape {shape}")
        self._start = whole.offset
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        # Not at exit, when other threads may still be reading.
        weakref.finalize(self, os.close, self._descriptor).atexit = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _PixelFile, self._given  # other processes open it for themselves

    def read(self, row: int) -> np.ndarray:
        """Return one image."""
        path, shape = self._given
        size = math.prod(shape[1:])
        content = _read_at(self._descriptor, size, self._start + row * size)
        if len(content) < size:
            raise OSError(f"{path} has been cut short since it was opened. Delete it, and restart.")
        return np.frombuffer(bytearray(content), np.uint8).reshape(shape[1:])


def _find_key(files: ImageFiles) -> str:
    """Return the digits that name the file for these images: see `ImageCache`."""
    import PIL
    from PIL import features

    code = [inspect.getsource(module) for module in (images, bit_depth)]
    decoders = [features.version(name) for name in ("jpg", "libjpeg_turbo", "webp")]
    how = (code, PIL.__version__, decoders, files.shape, files.crop, files.bits)
    found = hashlib.sha256(repr(how).encode())
    for path in files.paths:
        try:
            status = path.stat()
            told = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        except OSError:
            told = (0, 0, 0)  # it is tried again when the cache is opened
        found.update(repr((os.fsencode(path.absolute()), told)).encode())
    return found.hexdigest()[:_DIGITS]


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Wait until no other process writes the cache of the same data set."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _say(f"Waiting for another process, which is caching the images in {folder}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _open(files: ImageFiles, path: Path) -> tuple[CachedImages, dict[int, str]] | None:
    """Return the images in a cache, and what is wrong with files; None if it cannot be used.

    What could not be read before is tried again, as a drive may have been away.
    """
    try:
        cached = CachedImages(files, path)
        unreadable = json.loads(path.with_suffix(".json").read_text("utf-8"))["unreadable"]
    except (FileNotFoundError, ValueError):
        return None
    problems = {}
    for index in unreadable:
        problem = files.try_read(index)
        if not isinstance(problem, str):
            return None
        problems[index] = problem
    return cached, problems


def _clear(folder: Path) -> None:
    """Delete what is out of date, or was left when a process was killed."""
    remove_leftovers(folder)
    for pattern in ("*.npy", "*.json"):
        for path in folder.glob(pattern):
            with suppress(OSError):  # on Windows, while another process reads it
                path.unlink()


def _write(files: ImageFiles, path: Path) -> dict[int, str]:
    """Read all files once, write their pixels, and return what is wrong with some."""
    problems = {}
    header = {"descr": "|u1", "fortran_order": False, "shape": files.shape}
    with write_atomically(path) as temporary:
        with temporary.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            results = track(files.read_each(), len(files), "Caching images")
            for index, image in enumerate(results):
                if isinstance(image, str):
                    problems[index] = image
                    image = np.zeros(files.shape[1:], np.uint8)
                file.write(image.tobytes())
        # Before the pixels get their name, by which the cache counts as complete.
        write_text(path.with_suffix(".json"), json.dumps({"unreadable": [*problems]}))
    return problems


def _describe_size(size: int) -> str:
    unit, name = next((unit, name) for unit, name in _UNITS if size >= unit or unit == 1e3)
    return f"{size / unit:,.1f} {name}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
