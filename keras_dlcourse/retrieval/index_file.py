"""The index file: a checksum, a JSON header, and arrays; written atomically.

8 bytes   "KDINDEX1"
32 bytes  SHA-256 of all that follows
8 bytes   length of the header, little-endian
header    {"about": ..., "arrays": [{"name", "dtype", "shape"}, ...]}
arrays    one after another, little-endian, C order
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_dlcourse._files import user_path, write_atomically

_MAGIC = b"KDINDEX1"
_START = len(_MAGIC) + 32
_DTYPES = ("<f4", "|i1", "|u1")
_CHUNK = 1 << 24


class InvalidIndex(ValueError):
    """A file that is not an index, or is damaged."""


def write_index(
    path: str | os.PathLike[str], about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write an index.

    Args:
        path: The file.
        about: Metadata that JSON can represent.
        arrays: Float32, int8 or uint8 arrays by name.
    """
    parts = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    described = [
        {"name": name, "dtype": part.dtype.newbyteorder("<").str, "shape": list(part.shape)}
        for name, part in parts.items()
    ]
    header = json.dumps({"about": about, "arrays": described}, allow_nan=False).encode()
    with write_atomically(path) as temporary, temporary.open("wb") as file:
        digest = hashlib.sha256()

        def write(content: Any) -> None:
            digest.update(content)
            file.write(content)

        file.write(_MAGIC + bytes(32))
        write(len(header).to_bytes(8, "little") + header)
        for part in parts.values():
            content = (
                part.astype(part.dtype.newbyteorder("<"), copy=False).reshape(-1).view(np.uint8)
            )
            for start in range(0, len(content), _CHUNK):
                write(content[start : start + _CHUNK].data)
        file.seek(len(_MAGIC))
        file.write(digest.digest())


def read_index(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read an index that was written by `write_index`.

    Args:
        path: The file.

    Returns:
        `about` and the arrays, which are read-only.

    Raises:
        InvalidIndex: If the file is not an index or is damaged.
        OSError: If the file cannot be read.
    """
    content = user_path(path).read_bytes()
    name = str(path)
    if content[: len(_MAGIC)] != _MAGIC:
        raise InvalidIndex(f"{name!r} is not an index of kd.retrieval: its first bytes differ.")
    body = memoryview(content)[_START:]
    if hashlib.sha256(body).digest() != content[len(_MAGIC) : _START]:
        raise InvalidIndex(
            f"{name!r} is damaged: its checksum does not match its content, as after a broken "
            "copy. Copy it again, or rebuild the index."
        )
    try:
        return _parse(body)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidIndex(f"{name!r} cannot be read: {error!r}") from error


def _parse(body: memoryview) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    end = 8 + int.from_bytes(body[:8], "little")
    header = json.loads(bytes(body[8:end]))
    arrays = {}
    for entry in header["arrays"]:
        if entry["dtype"] not in _DTYPES:
            raise ValueError(f"unknown dtype {entry['dtype']!r}")
        dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
        if not all(isinstance(size, int) and size >= 0 for size in shape):
            raise ValueError(f"invalid shape {shape}")
        stop = end + math.prod(shape) * dtype.itemsize
        # In native byte order and aligned from here on.
        array = np.frombuffer(body[end:stop], dtype).reshape(shape)
        arrays[entry["name"]] = np.require(
            array.astype(dtype.newbyteorder("="), copy=False), requirements="A"
        )
        end = stop
    if end != len(body):
        raise ValueError(f"{len(body) - end} extra bytes at the end")
    return header["about"], arrays
