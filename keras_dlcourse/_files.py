"""Atomic file writes: write to a temporary file, flush it to disk, and rename it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def user_path(path: str | os.PathLike[str]) -> Path:
    """Return a path with a leading `~` expanded to the home folder.

    Example:
        >>> user_path("~/model.tflite") == Path.home() / "model.tflite"
        True
    """
    # Path.expanduser raises on names such as "~draft.png", which may be files.
    return Path(os.path.expanduser(path))  # noqa: PTH111


def keras_home() -> Path:
    """Return the folder in which Keras keeps what it has downloaded, without importing Keras."""
    return user_path(os.environ.get("KERAS_HOME") or "~/.keras")


@contextmanager
def write_atomically(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to, and rename it to `path` on success.

    If anything goes wrong (an exception, a full disk, Ctrl-C), `path` is unchanged and no partial
    file is left behind. The temporary name keeps the suffix of `path`, because Keras and matplotlib
    use it to choose the format.

    Args:
        path: The file to create. Missing parent folders are created.

    Yields:
        The path to write to, which does not exist yet.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "labels.txt"
        >>> with write_atomically(path) as temporary:
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
    with suppress(OSError):  # some file systems cannot flush a folder
        flush(path.parent)


@contextmanager
def write_folder_atomically(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder beside `folder` to fill, and rename it to `folder` on success.

    Args:
        folder: The folder to create. It must be missing or empty. Missing parents are created.

    Yields:
        The folder to write to, which exists and is empty.

    Example:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp()) / "model"
        >>> with write_folder_atomically(folder) as temporary:
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


def check_free(name: str, folder: str | os.PathLike[str]) -> Path:
    """Return the path of a folder to create, after checking that it is missing or empty.

    Args:
        name: Name of the argument.
        folder: The folder.

    Raises:
        FileExistsError: If it is a file or is not empty.
        PermissionError: If it cannot be created.

    Example:
        >>> import tempfile
        >>> check_free("folder", tempfile.mkdtemp() + "/run").name
        'run'
    """
    path = user_path(folder)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        kind = "is not empty" if path.is_dir() else "is a file"
        raise FileExistsError(
            f"{name} must be new or empty. Received: {path}, which {kind}. Nothing is overwritten: "
            "pass a new folder."
        )
    _check_parent(name, path)
    return path


def check_writable(name: str, path: str | os.PathLike[str]) -> Path:
    """Return the path of a file to write, after checking that it can be written.

    Args:
        name: Name of the argument.
        path: The file. It may exist, and its folders may be missing.

    Raises:
        IsADirectoryError: If it is a folder.
        PermissionError: If it cannot be written.

    Example:
        >>> import tempfile
        >>> check_writable("path", tempfile.mkdtemp() + "/model.tflite").name
        'model.tflite'
    """
    path = user_path(path)
    if path.is_dir():
        raise IsADirectoryError(
            f"{name} must name the file to write. Received: {path}, which is a folder"
        )
    _check_parent(name, path)
    return path


def check_usable(name: str, folder: str | os.PathLike[str]) -> Path:
    """Return the path of a folder to write files to, after checking that this is possible.

    Args:
        name: Name of the argument.
        folder: The folder. It may exist, or be created.

    Raises:
        PermissionError: If it is a file, cannot be created or cannot be written to.

    Example:
        >>> import tempfile
        >>> check_usable("cache", tempfile.mkdtemp() + "/cache").name
        'cache'
    """
    path = user_path(folder)
    _check_parent(name, path, path.absolute())
    return path


def _check_parent(name: str, path: Path, *first: Path) -> None:
    """Raise PermissionError if the nearest existing parent of a path is not a writable folder.

    Args:
        name: Name of the argument.
        path: The path.
        first: Paths to try before its parents.
    """
    folder = next(place for place in (*first, *path.absolute().parents) if place.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise PermissionError(
            f"{name} cannot be written. Received: {path}, but {folder} is not a writable folder"
        )


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Delete temporary files that a process killed during a write left in a folder.

    Args:
        folder: A folder that no other process is writing to.
    """
    for left in Path(folder).glob(".*"):
        if left.is_dir() and not left.is_symlink():
            inside = [path.name for path in left.iterdir()]
            if len(inside) == 1 and left.name.startswith(f".{inside[0]}."):
                shutil.rmtree(left, ignore_errors=True)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write bytes to a file atomically."""
    with write_atomically(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike[str], content: str) -> None:
    """Write UTF-8 text to a file atomically."""
    write_bytes(path, content.encode())


def flush(path: Path) -> None:
    """Wait until a file or folder has been written to disk.

    Example:
        >>> flush(Path("."))
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
