"""Messages between a process and the worker that runs its model: lengths, JSON, and arrays.

    4 bytes     length of the head, little-endian
    8 bytes     length of the body
    head        JSON in UTF-8
    body        for "arrays" in the head, their values one after another in C order

No pickle: what comes from a worker that has run a foreign file is only ever read as numbers.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

_LENGTHS = struct.Struct("<IQ")
_LONGEST_HEAD = 1 << 20
_NUMBERS = "biuf"  # the kinds of NumPy's types that travel


class BadMessage(ValueError):
    """What came is no message."""


def send(stream: BinaryIO, head: dict[str, Any], body: Sequence[Any] = ()) -> None:
    """Write a message.

    Args:
        stream: An unbuffered one.
        head: What JSON can hold.
        body: Bytes and arrays.
    """
    import json  # here, because only untrusted models need it

    parts = [_bytes_of(part) for part in body]
    text = json.dumps(head).encode()
    lengths = _LENGTHS.pack(len(text), sum(len(part) for part in parts))
    for part in (memoryview(lengths + text), *parts):
        while part:
            part = part[stream.write(part) :]


def receive(stream: BinaryIO, most: int) -> tuple[dict[str, Any], bytearray]:
    """Read a message.

    Args:
        stream: An unbuffered one.
        most: Bytes that the body may have.

    Raises:
        EOFError: If the stream has ended.
        BadMessage: If something else comes.
    """
    import json

    head_length, body_length = _LENGTHS.unpack(_exactly(stream, _LENGTHS.size))
    if head_length > _LONGEST_HEAD or body_length > most:
        raise BadMessage(f"a message of {head_length} and {body_length} bytes")
    text, body = _exactly(stream, head_length), _exactly(stream, body_length)
    try:
        head = json.loads(text.decode())
    except (ValueError, RecursionError):
        raise BadMessage("a message without JSON") from None
    if not isinstance(head, dict):
        raise BadMessage("a message without a table")
    return head, body


def described(arrays: Sequence[np.ndarray]) -> list[tuple[str, tuple[int, ...]]]:
    """Return what the head says of arrays.

    Raises:
        BadMessage: If one does not hold numbers.

    Example:
        >>> described([np.zeros((2, 3), "float32")])
        [('float32', (2, 3))]
    """
    for array in arrays:
        if array.dtype.kind not in _NUMBERS:
            raise BadMessage(f"an array of {array.dtype}")
    return [(array.dtype.name, array.shape) for array in arrays]


def arrays(descriptions: Any, body: bytearray) -> list[np.ndarray]:
    """Return the arrays of a body, all that is said of them checked.

    Args:
        descriptions: What the head says of them.
        body: Their values.

    Raises:
        BadMessage: If the two do not fit.
    """
    found, start = [], 0
    try:
        for name, shape in descriptions:
            dtype = np.dtype(name)
            if dtype.kind not in _NUMBERS or any(type(n) is not int or n < 0 for n in shape):
                raise BadMessage(f"an array of {dtype} and shape {shape}")
            count = math.prod(shape)
            found.append(
                np.frombuffer(body, dtype, count, start).reshape(shape)
                if count
                else np.zeros(shape, dtype)
            )
            start += count * dtype.itemsize
    except (TypeError, ValueError, OverflowError) as error:
        raise BadMessage(f"arrays that do not fit: {error}") from error
    if start != len(body):
        raise BadMessage(f"{len(body) - start} bytes too many")
    return found


def _bytes_of(part: Any) -> memoryview:
    if not isinstance(part, bytes | bytearray):
        part = np.ascontiguousarray(part).reshape(-1).view(np.uint8).data
    return memoryview(part)


def _exactly(stream: BinaryIO, count: int) -> bytearray:
    """Read that many bytes."""
    content = bytearray(count)
    rest = memoryview(content)
    while rest:
        read = stream.readinto(rest)  # type: ignore[attr-defined]
        if not read:
            raise EOFError("the other side has ended")
        rest = rest[read:]
    return content
