"""Read flatbuffer tables with the standard library, checking every offset before following it.

Reference: https://flatbuffers.dev/internals
"""

from __future__ import annotations

import struct
from typing import Any

# Read budget per file: a vector costs its bytes, a table a few. Valid files stay far below their
# own size; without a budget, maliciously overlapping offsets would take hours to read.
_BUDGET_PER_BYTE = 4
_BUDGET_MINIMUM = 1 << 20
_TABLE_COST = 16


class InvalidModel(ValueError):
    """A file is not a `.tflite` file, or is damaged; the message says what is wrong."""


class _Source:
    """The bytes of a flatbuffer and the remaining read budget."""

    def __init__(self, data: memoryview, what: str) -> None:
        self.data = data
        self.what = what
        self.budget = _BUDGET_PER_BYTE * len(data) + _BUDGET_MINIMUM

    def check(self, position: int, size: int, cost: int) -> None:
        if position < 0 or size < 0 or position + size > len(self.data):
            raise InvalidModel(
                f"{self.what} is damaged or truncated: it points to {size} bytes at {position}, "
                f"but ends at {len(self.data)}"
            )
        self.budget -= cost
        if self.budget < 0:
            raise InvalidModel(f"{self.what} is damaged: its parts overlap")

    def number(self, position: int, code: str) -> Any:
        size = struct.calcsize("<" + code)
        self.check_aligned(position, size)
        self.check(position, size, 1)
        return struct.unpack_from("<" + code, self.data, position)[0]

    def check_aligned(self, position: int, size: int) -> None:
        if position % size:
            raise InvalidModel(
                f"{self.what} is damaged: {size}-byte numbers are misaligned at {position}"
            )

    def span(self, position: int, item_size: int) -> tuple[int, int]:
        """Return start and count of the vector at `position`."""
        count = self.number(position, "I")
        if count:
            self.check_aligned(position + 4, item_size)
        self.check(position + 4, count * item_size, 0)
        return position + 4, count

    def follow(self, position: int) -> int:
        """Return where the offset at `position` points to."""
        offset = self.number(position, "I")
        if offset == 0:
            raise InvalidModel(f"{self.what} is damaged: the offset at {position} is zero")
        return position + offset


class Table:
    """A table in a flatbuffer, whose fields are read by slot.

    A missing field returns the default. Slots are defined in `keras_dlcourse.edge.tflite.schema`;
    number formats are codes of `struct` ("b", "B", "i", "I", "Q", "f", ...).

    Example:
        >>> data = bytes.fromhex("0c000000 00000600 08000400 06000000 2a000000")
        >>> Table.root(data, None, "the example").number(0, "i")
        42
    """

    __slots__ = ("_fields", "_position", "_source")

    def __init__(self, source: _Source, position: int) -> None:
        source.check(position, 4, _TABLE_COST)
        vtable = position - source.number(position, "i")
        size, table_size = source.number(vtable, "H"), source.number(vtable + 2, "H")
        if size < 4 or size % 2 or table_size < 4:
            raise InvalidModel(f"{source.what} is damaged: there is no table at {position}")
        source.check(vtable, size, 0)
        source.check(position, table_size, 0)
        self._source = source
        self._position = position
        self._fields = struct.unpack_from(f"<{(size - 4) // 2}H", source.data, vtable + 4)

    @classmethod
    def root(cls, data: bytes | memoryview, identifier: bytes | None, what: str) -> Table:
        """Return the root table of a flatbuffer.

        Args:
            data: The whole flatbuffer; more bytes may follow.
            identifier: The four bytes required at offset 4, or None.
            what: Name of the data, used in error messages, e.g. the file name.

        Raises:
            InvalidModel: If the identifier is wrong or the data is damaged. Every method of a
                table raises it for damaged data.
        """
        source = _Source(memoryview(data), what)
        if len(data) < 8:
            raise InvalidModel(f"{what} has only {len(data)} bytes, too few for a flatbuffer")
        if identifier is not None and bytes(source.data[4:8]) != identifier:
            raise InvalidModel(
                f"{what} lacks the identifier {identifier.decode()!r} at byte 4. "
                f"Received: {bytes(source.data[4:8])!r}"
            )
        return cls(source, source.follow(0))

    def number(self, slot: int, code: str, default: Any = 0) -> Any:
        """Return a number or boolean."""
        position = self._field(slot)
        return default if position is None else self._source.number(position, code)

    def numbers(self, slot: int, code: str) -> tuple[Any, ...]:
        """Return a vector of numbers; empty if it is missing."""
        size = struct.calcsize("<" + code)
        start, count = self._span(slot, size)
        self._source.check(start, count * size, count * size)
        return struct.unpack_from(f"<{count}{code}", self._source.data, start)

    def data(self, slot: int) -> memoryview:
        """Return a vector of bytes without copying it; empty if it is missing."""
        start, count = self._span(slot, 1)
        return self._source.data[start : start + count]

    def string(self, slot: int, default: str = "") -> str:
        """Return a string; raises an error if it is not UTF-8."""
        position = self._pointer(slot)
        return default if position is None else self._text(position)

    def table(self, slot: int) -> Table | None:
        """Return a table, or None if it is missing."""
        position = self._pointer(slot)
        return None if position is None else Table(self._source, position)

    def tables(self, slot: int) -> list[Table]:
        """Return a vector of tables; empty if it is missing."""
        start, count = self._span(slot, 4)
        source = self._source
        return [Table(source, source.follow(start + 4 * index)) for index in range(count)]

    def _field(self, slot: int) -> int | None:
        """Return the position of a field, or None."""
        offset = self._fields[slot] if slot < len(self._fields) else 0
        return self._position + offset if offset else None

    def _pointer(self, slot: int) -> int | None:
        """Return the position that a field points to, or None."""
        position = self._field(slot)
        return None if position is None else self._source.follow(position)

    def _span(self, slot: int, item_size: int) -> tuple[int, int]:
        position = self._pointer(slot)
        return (0, 0) if position is None else self._source.span(position, item_size)

    def _text(self, position: int) -> str:
        start, count = self._source.span(position, 1)
        self._source.check(start, count + 1, count)
        if self._source.data[start + count]:
            raise InvalidModel(
                f"{self._source.what} is damaged: the text at {start} is not terminated"
            )
        try:
            return str(self._source.data[start : start + count], "utf-8")
        except UnicodeDecodeError:
            raise InvalidModel(
                f"{self._source.what} is damaged: the text at {start} is not UTF-8"
            ) from None
