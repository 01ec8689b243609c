"""The file of an index: a checksum, a header in JSON, and arrays; written whole or not at all.

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

from keras_dlcourse._files import user_path, written_whole

# The file: these 8 bytes; SHA-256 of all that follows, 32 bytes; length of the header, 8 bytes;
# the header, {"about": ..., "arrays": [{"name", "dtype", "shape"}, ...]}; the arrays one after
# another in C order. Numbers are little-endian.
_MAGIC = b"KDINDEX1"
_START = len(_MAGIC) + 32
_DTYPES = ("<f4", "|i1", "|u1")
_CHUNK = 1 << 24


class InvalidIndex(ValueError):
    """A file that is no index, or a damaged one."""


def write_index(
    path: str | os.PathLike[str], about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write an index.

    Args:
        path: The file.
        about: What JSON can hold.
        arrays: Float32, int8 or uint8, by name.
    """
    parts = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    described = [
        {"name": name, "dtype": part.dtype.newbyteorder("<").str, "shape": list(part.shape)}
        for name, part in parts.items()
    ]
    header = json.dumps({"about": about, "arrays": described}, allow_nan=False).encode()
    with written_whole(path) as temporary, temporary.open("wb") as file:
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
    """Read what `write_index` wrote.

    Args:
        path: The file.

    Returns:
        `about` and the arrays, which cannot be written to.

    Raises:
        InvalidIndex: If the file is none of an index, or damaged.
        OSError: If it cannot be read.
    """
    content = user_path(path).read_bytes()
    name = str(path)
    if content[: len(_MAGIC)] != _MAGIC:
        raise InvalidIndex(f"{name!r} is no index of kd.retrieval: it begins with other bytes")
    body = memoryview(content)[_START:]
    if hashlib.sha256(body).digest() != content[len(_MAGIC) : _START]:
        raise InvalidIndex(
            f"{name!r} is damaged: its checksum does not fit its content, as after a broken copy. "
            "Copy it again, or build the index anew"
        )
    try:
        return _parsed(body)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidIndex(f"{name!r} cannot be read: {error!r}") from error


def _parsed(body: memoryview) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    end = 8 + int.from_bytes(body[:8], "little")
    header = json.loads(bytes(body[8:end]))
    arrays = {}
    for entry in header["arrays"]:
        if entry["dtype"] not in _DTYPES:
            raise ValueError(f"unknown type {entry['dtype']!r}")
        dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
        if not all(isinstance(size, int) and size >= 0 for size in shape):
            raise ValueError(f"impossible shape {shape}")
        stop = end + math.prod(shape) * dtype.itemsize
        # In native order from here on, and aligned.
        array = np.frombuffer(body[end:stop], dtype).reshape(shape)
        arrays[entry["name"]] = np.require(
            array.astype(dtype.newbyteorder("="), copy=False), requirements="A"
        )
        end = stop
    if end != len(body):
        raise ValueError(f"{len(body) - end} bytes too many")
    return header["about"], arrays
