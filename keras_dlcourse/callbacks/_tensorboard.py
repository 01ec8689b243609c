"""Write images for TensorBoard, without TensorFlow.

An event file is a sequence of records `length, checksum of length, content, checksum of content`;
each content is a protocol buffer of type Event. An image needs only a dozen of its fields, so
training on JAX or PyTorch does not have to import TensorFlow, which would claim their GPU.

Reference:
    https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/lib/io/record_writer.cc
    https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/util/event.proto
"""

from __future__ import annotations

import os
import socket
import struct
import time
from pathlib import Path

from keras_dlcourse._files import user_path, write_bytes

_RGBA = 4  # color space in summary.proto


def write_picture(
    directory: str | os.PathLike[str], tag: str, step: int, png: bytes, size: tuple[int, int]
) -> Path:
    """Write one image as its own event file, atomically.

    TensorBoard reads the files of a folder in name order and never goes back to an earlier one, so
    each name begins with the time.

    Args:
        directory: Folder of the run; its parent is TensorBoard's `--logdir`.
        tag: Name of the image series.
        step: Number of the image in its series, e.g. the epoch.
        png: Content of a PNG file.
        size: Height and width in pixels.

    Returns:
        The path of the file.
    """
    now = time.time()
    image = _number(1, size[0]) + _number(2, size[1]) + _number(3, _RGBA) + _message(4, png)
    summary = _message(1, _message(1, tag.encode()) + _message(4, image))
    version = _real(1, now) + _message(3, b"brain.Event:2")
    event = _real(1, now) + _number(2, step) + _message(5, summary)
    host = socket.gethostname() or "host"
    path = (
        user_path(directory) / f"events.out.tfevents.{now:017.6f}.{host}.{os.getpid()}.{step:06d}"
    )
    write_bytes(path, _record(version) + _record(event))
    return path


def _record(content: bytes) -> bytes:
    length = struct.pack("<Q", len(content))
    return length + _checksum(length) + content + _checksum(content)


def _checksum(content: bytes) -> bytes:
    """Compute the CRC-32C, masked (rotated and shifted) so that nested checksums stay useful."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _crc_table() -> list[int]:
    table = []
    for crc in range(256):
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


_TABLE = _crc_table()


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _real(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content
