"""Files are written beside, flushed to the disk and renamed: an old file stays whole until then."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def user_path(path: str | os.PathLike[str]) -> Path:
    """Return a path as the user means it: a leading `~` is the home folder.

    Example:
        >>> user_path("~/model.tflite") == Path.home() / "model.tflite"
        True
    """
    # Path.expanduser raises on names such as "~draft.png", which may be files.
    return Path(os.path.expanduser(path))  # noqa: PTH111


@contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to, and rename it to `path` on success.

    Whatever goes wrong (an exception, a full disk, Ctrl-C), `path` is as it was before and nothing
    half-written is left behind. The temporary name keeps the suffix of `path`, because Keras and
    matplotlib choose the format by it.

    Args:
        path: The file to make. Missing parent folders are made.

    Yields:
        The path to write to; it does not exist yet.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "labels.txt"
        >>> with written_whole(path) as temporary:
        ...     _ = temporary.write_text("shirt\\n")
        >>> path.read_text()
        'shirt\\n'
    """
    path = user_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        yield temporary
        flush(temporary)
        temporary.replace(path)
    with suppress(OSError):  # not every file system can flush a folder
        flush(path.parent)


@contextmanager
def folder_written_whole(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary folder beside `folder` to fill, and rename it to `folder` on success.

    Args:
        folder: The folder to make; it must not exist, or be empty. Missing parents are made.

    Yields:
        The folder to write to; it exists and is empty.

    Example:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp()) / "model"
        >>> with folder_written_whole(folder) as temporary:
        ...     _ = (temporary / "labels.txt").write_text("shirt")
        >>> [path.name for path in folder.iterdir()]
        ['labels.txt']
    """
    folder = user_path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as parent:
        whole = Path(parent) / folder.name
        whole.mkdir()
        yield whole
        whole.replace(folder)


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Delete what a process that was killed while it wrote has left in a folder.

    Args:
        folder: A folder that no other process is writing to.
    """
    for left in Path(folder).glob(".*"):
        if left.is_dir() and not left.is_symlink():
            inside = [path.name for path in left.iterdir()]
            if len(inside) == 1 and left.name.startswith(f".{inside[0]}."):
                shutil.rmtree(left, ignore_errors=True)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a whole file of bytes, or none."""
    with written_whole(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike[str], content: str) -> None:
    """Write a whole file of UTF-8 text, or none."""
    write_bytes(path, content.encode())


def flush(path: Path) -> None:
    """Wait until a file or folder is on the disk.

    Example:
        >>> flush(Path("."))
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
