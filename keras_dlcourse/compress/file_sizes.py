"""File sizes, both on the device and compressed for download."""

from __future__ import annotations

import io
import lzma
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

from keras_dlcourse._files import user_path
from keras_dlcourse._tables import text_table

WHY = (
    "Pruning and clustering do not change the raw size or the speed: a .tflite file stores\n"
    "zeros and repeated values in as many bits as any other value. They pay off where the\n"
    "file is compressed: in an app package or a download."
)


@dataclass(frozen=True)
class FileSize:
    """The size of one file, in bytes.

    Attributes:
        path: The file.
        raw: Uncompressed size.
        zip: Size in a zip archive (deflate, level 9), as stored by `zip -9` and app packages.
        xz: Size compressed by xz at level 9, close to the smallest possible download.
    """

    path: Path
    raw: int
    zip: int
    xz: int


@dataclass(frozen=True)
class FileSizes:
    """Sizes of files. Prints as a table.

    Attributes:
        files: One row per file.
    """

    files: tuple[FileSize, ...]

    def __str__(self) -> str:
        first = self.files[0]
        rows = [
            [file.path.name, file.raw, file.zip, file.xz, f"{first.zip / file.zip:.2f}x"]
            for file in self.files
        ]
        headings = ["file", "raw", "zip -9", "xz -9", f"zip -9, {first.path.name} / file"]
        columns = slice(None) if len(rows) > 1 else slice(4)
        table = text_table(headings[columns], [row[columns] for row in rows], title="bytes")
        return f"{table}\n{WHY}"


def sizes(*paths: str | os.PathLike[str]) -> FileSizes:
    """Measure file sizes: uncompressed, in a zip archive, and compressed by xz.

    Args:
        *paths: Files; the others are compared with the first.

    Returns:
        `FileSizes`; print it for a table.

    Raises:
        ValueError: If no path is given.
        FileNotFoundError: If a file is missing.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "zeros.tflite"
        >>> path.write_bytes(bytes(1000))
        1000
        >>> size, = sizes(path).files
        >>> size.raw, size.zip < 200, size.xz < 200
        (1000, True, True)
    """
    if not paths:
        raise ValueError("sizes() requires at least one file path.")
    return FileSizes(tuple(_size(user_path(path)) for path in paths))


def _size(path: Path) -> FileSize:
    content = path.read_bytes()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        file.writestr(path.name, content)
    return FileSize(
        path, len(content), len(archive.getvalue()), len(lzma.compress(content, preset=9))
    )
