"""Write a flatbuffer from nested Python values, the counterpart of `edge.tflite.flatbuffer`.

The metadata schema has a dozen small tables; this avoids a generated module for it.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np


class Table(dict[int, Any]):
    """A flatbuffer table: maps slots to field values; None values are omitted.

    Values are strings, tables, lists of these, lists of float or of `numpy.uint32`, bytes of
    another flatbuffer, or NumPy scalars of the field's type (`numpy.bool_`, `numpy.int8`,
    `numpy.uint8`, `numpy.int32`, `numpy.uint32`, `numpy.float32`).
    """


def pack(table: Table, identifier: bytes) -> bytes:
    """Return a flatbuffer with the table as its root.

    Args:
        table: The root.
        identifier: File identifier, four bytes.

    Example:
        >>> pack(Table({0: "shirts"}), b"M001")[4:8]
        b'M001'
    """
    builder = flatbuffers.Builder(1024)
    builder.Finish(_add(builder, table), identifier)
    return bytes(builder.Output())


def _add(builder: flatbuffers.Builder, value: Any) -> int:
    """Add a string, vector or table, after its contents, and return its offset."""
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, Table):
        return _add_table(builder, value)
    if isinstance(value, bytes):
        builder.StartVector(1, len(value), 16)  # readers use it in place, with any numbers in it
        builder.head = builder.Head() - len(value)
        builder.Bytes[builder.Head() : builder.Head() + len(value)] = value
        return builder.EndVector()
    if isinstance(value, list) and all(isinstance(item, float) for item in value):
        return builder.CreateNumpyVector(np.asarray(value, "<f4"))
    if isinstance(value, list) and all(isinstance(item, np.uint32) for item in value):
        return builder.CreateNumpyVector(np.asarray(value, "<u4"))
    if isinstance(value, list):
        offsets = [_add(builder, item) for item in value]
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()
    raise TypeError(f"a flatbuffer field cannot hold {type(value).__name__}")


def _add_table(builder: flatbuffers.Builder, table: Table) -> int:
    fields = {slot: value for slot, value in table.items() if value is not None}
    # A table cannot be started until everything it points to is finished.
    offsets = {
        slot: _add(builder, value)
        for slot, value in fields.items()
        if not isinstance(value, np.generic)
    }
    builder.StartObject(max(fields, default=-1) + 1)
    for slot, value in fields.items():
        if slot in offsets:
            builder.PrependUOffsetTRelativeSlot(slot, offsets[slot], 0)
        else:
            _add_scalar(builder, slot, value)
    return builder.EndObject()


def _add_scalar(builder: flatbuffers.Builder, slot: int, value: np.generic) -> None:
    """Add a number with the width of its NumPy type; zero is the default and takes no space."""
    prepend = {
        np.bool_: builder.PrependBoolSlot,
        np.int8: builder.PrependInt8Slot,
        np.uint8: builder.PrependUint8Slot,
        np.int32: builder.PrependInt32Slot,
        np.uint32: builder.PrependUint32Slot,
        np.float32: builder.PrependFloat32Slot,
    }[type(value)]
    prepend(slot, value.item(), 0)
