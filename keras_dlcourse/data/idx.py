"""The IDX format of the MNIST family: a short header, then the values, often compressed."""

from __future__ import annotations

import gzip
import lzma
import os
import zlib
from pathlib import Path

import numpy as np

from keras_dlcourse._files import user_path, write_bytes

_UINT8 = 0x08  # the only type these data sets use


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an IDX file of bytes, plain or compressed by gzip (`.gz`) or xz (`.xz`).

    Args:
        path: The file.

    Returns:
        Read-only uint8 array with the shape declared in the file.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is damaged or not an IDX file of bytes.

    Reference:
        The format is described at the end of http://yann.lecun.com/exdb/mnist/.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "labels-idx1-ubyte"
        >>> write_idx(path, np.array([9, 0, 3], "uint8"))
        >>> read_idx(path)
        array([9, 0, 3], dtype=uint8)
    """
    path = user_path(path)
    try:
        content = _uncompress(path)
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise _damage_error(path, f"it cannot be decompressed ({error})") from error
    if len(content) < 4 or content[:3] != bytes([0, 0, _UINT8]):
        raise _damage_error(path, "it does not start like an IDX file of bytes")
    header = 4 + 4 * content[3]
    if len(content) < header:
        raise _damage_error(path, "its header is incomplete")
    shape = tuple(int(size) for size in np.frombuffer(content[4:header], ">u4"))
    expected = int(np.prod(shape, dtype=object))
    if len(content) - header != expected:
        raise _damage_error(
            path,
            f"it declares {'x'.join(map(str, shape))} = {expected} bytes but contains "
            f"{len(content) - header}",
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def write_idx(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Write a uint8 array as an IDX file, compressed according to its suffix (`.gz`, `.xz`)."""
    array = np.ascontiguousarray(array)
    if array.dtype != np.uint8:
        raise TypeError(f"array must be uint8. Received: {array.dtype}")
    shape = np.array(array.shape, ">u4").tobytes()
    content = bytes([0, 0, _UINT8, array.ndim]) + shape + array.tobytes()
    if Path(path).suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    elif Path(path).suffix == ".xz":
        content = lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)
    write_bytes(path, content)


def _uncompress(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(content)
    if path.suffix == ".xz":
        return lzma.decompress(content)
    return content


def _damage_error(path: Path, why: str) -> ValueError:
    return ValueError(
        f"{path} is damaged or not an IDX file: {why}. Delete it and download it again."
    )
