"""Messages between a process and the worker that runs its model: lengths, JSON, and arrays.

    4 bytes     length of the head, little-endian
    8 bytes     length of the body
    head        JSON in UTF-8
    body        for "arrays" in the head, their values one after another in C order

Pickle is not used: data from a worker that has run an untrusted file is read only as numbers.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

_LENGTHS = struct.Struct("<IQ")
_LONGEST_HEAD = 1 << 20
_NUMBERS = "biuf"  # kinds of NumPy dtypes that may be sent


class BadMessage(ValueError):
    """Received data is not a valid message."""


def send(stream: BinaryIO, head: dict[str, Any], body: Sequence[Any] = ()) -> None:
    """Write a message.

    Args:
        stream: An unbuffered stream.
        head: A JSON-serializable dictionary.
        body: Bytes and arrays.
    """
    import json  # imported here because only untrusted models need it

    parts = [_bytes_of(part) for part in body]
    text = json.dumps(head).encode()
    lengths = _LENGTHS.pack(len(text), sum(len(part) for part in parts))
    for part in (memoryview(lengths + text), *parts):
        while part:
            part = part[stream.write(part) :]


def receive(stream: BinaryIO, most: int) -> tuple[dict[str, Any], bytearray]:
    """Read a message.

    Args:
        stream: An unbuffered stream.
        most: Maximum size of the body in bytes.

    Raises:
        EOFError: If the stream has ended.
        BadMessage: If the message is invalid or too long.
    """
    import json

    head_length, body_length = _LENGTHS.unpack(_read_exactly(stream, _LENGTHS.size))
    if head_length > _LONGEST_HEAD or body_length > most:
        raise BadMessage(f"the message is too long ({head_length} and {body_length} bytes)")
    text, body = _read_exactly(stream, head_length), _read_exactly(stream, body_length)
    try:
        head = json.loads(text.decode())
    except (ValueError, RecursionError):
        raise BadMessage("the head of the message is not JSON") from None
    if not isinstance(head, dict):
        raise BadMessage("the head of the message is not a JSON object")
    return head, body


def describe_arrays(arrays: Sequence[np.ndarray]) -> list[tuple[str, tuple[int, ...]]]:
    """Return the descriptions of arrays for the head of a message: dtypes and shapes.

    Raises:
        BadMessage: If an array is not numeric.

    Example:
        >>> describe_arrays([np.zeros((2, 3), "float32")])
        [('float32', (2, 3))]
    """
    for array in arrays:
        if array.dtype.kind not in _NUMBERS:
            raise BadMessage(f"arrays of {array.dtype} cannot be sent")
    return [(array.dtype.name, array.shape) for array in arrays]


def parse_arrays(descriptions: Any, body: bytearray) -> list[np.ndarray]:
    """Return the arrays in a body after checking their descriptions.

    Args:
        descriptions: Descriptions from the head.
        body: Values of the arrays.

    Raises:
        BadMessage: If the two do not match.
    """
    found, start = [], 0
    try:
        for name, shape in descriptions:
            dtype = np.dtype(name)
            if dtype.kind not in _NUMBERS or any(type(n) is not int or n < 0 for n in shape):
                raise BadMessage(f"an array has dtype {dtype} and shape {shape}")
            count = math.prod(shape)
            found.append(
                np.frombuffer(body, dtype, count, start).reshape(shape)
                if count
                else np.zeros(shape, dtype)
            )
            start += count * dtype.itemsize
    except (TypeError, ValueError, OverflowError) as error:
        raise BadMessage(f"the arrays do not match their descriptions: {error}") from error
    if start != len(body):
        raise BadMessage(f"the message has {len(body) - start} bytes too many")
    return found


def _bytes_of(part: Any) -> memoryview:
    if not isinstance(part, bytes | bytearray):
        part = np.ascontiguousarray(part).reshape(-1).view(np.uint8).data
    return memoryview(part)


def _read_exactly(stream: BinaryIO, count: int) -> bytearray:
    """Read exactly `count` bytes."""
    content = bytearray(count)
    rest = memoryview(content)
    while rest:
        read = stream.readinto(rest)  # type: ignore[attr-defined]
        if not read:
            raise EOFError("the other process has closed the stream")
        rest = rest[read:]
    return content
