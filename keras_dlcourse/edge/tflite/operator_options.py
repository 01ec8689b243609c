"""Options of operators: their position in the file, and ranges that kernels rely on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from keras_dlcourse.edge.tflite import schema
from keras_dlcourse.edge.tflite.flatbuffer import Table

_INT32 = (-(1 << 31), (1 << 31) - 1)
# Kinds of fields: `struct` code, minimum and maximum.
_KINDS: dict[str, tuple[str, int, int]] = {
    "padding": ("b", 0, 1),
    "activation": ("b", 0, 5),
    "size": ("i", 1, 0xFFFF),  # kernels divide by it and multiply in 32 bits
    "graph": ("i", 0, _INT32[1]),
    "type": ("b", 0, len(schema.TENSOR_TYPES) - 1),
    "mode": ("b", 0, 1),
    "byte": ("b", -128, 127),
    "int": ("i", *_INT32),
    "long": ("q", -(1 << 63), (1 << 63) - 1),
}
# Kinds of vectors and the `struct` codes of their values, which have no limits.
_VECTORS = {"ints": "i", "floats": "f", "bytes": "B", "longs": "q"}
# One row per options table with more than harmless booleans and floats ("-"): its code in the
# union, its operators, and its fields in order, with the default after "=" if it is not 0.
_TABLE = """
1 CONV_2D: padding size size activation size=1 size=1 byte
2 DEPTHWISE_CONV_2D: padding size size int activation size=1 size=1
3 CONCAT_EMBEDDINGS: int ints ints
4 LSH_PROJECTION: byte
5 AVERAGE_POOL_2D MAX_POOL_2D L2_POOL_2D: padding size size size size activation
6 SVDF: int activation -
7 RNN: activation -
8 FULLY_CONNECTED: activation mode - - byte bytes
10 CONCATENATION: int activation
11 ADD: activation -
12 L2_NORMALIZATION: activation
13 LOCAL_RESPONSE_NORMALIZATION: int - - -
14 LSTM: activation - - mode -
17 RESHAPE: ints
19 SPACE_TO_DEPTH: size
21 MUL: activation
23 GATHER: int int
28 SUB: activation -
29 DIV: activation
30 SQUEEZE: ints
31 UNIDIRECTIONAL_SEQUENCE_RNN: - activation -
35 SPLIT: size
37 CAST: type type
40 ARG_MAX: type
49 TRANSPOSE_CONV: padding size size activation byte
55 SHAPE: type
57 ARG_MIN: type
59 PACK: size int
61 ONE_HOT: int
64 UNPACK: int int
69 BIDIRECTIONAL_SEQUENCE_LSTM: activation - - - - -
70 BIDIRECTIONAL_SEQUENCE_RNN: - activation - -
71 UNIDIRECTIONAL_SEQUENCE_LSTM: activation - - - - -
77 MIRROR_PAD: mode
79 SPLIT_V: size
80 UNIQUE: type=2
87 REVERSE_SEQUENCE: int int
92 IF: graph graph
93 WHILE: graph graph
94 DEPTH_TO_SPACE: size
103 CALL_ONCE: graph
106 CONV_3D CONV_3D_TRANSPOSE: padding size size size activation size=1 size=1 size=1
107 HASHTABLE: int type type
111 VAR_HANDLE: text text
115 BUCKETIZE: floats
"""


class _Field(NamedTuple):
    kind: str
    default: int


class _Row(NamedTuple):
    code: int
    fields: tuple[_Field, ...]


def _rows() -> dict[str, _Row]:
    rows = {}
    for line in _TABLE.strip().splitlines():
        left, right = line.split(":")
        code, *names = left.split()
        parts = [field.partition("=") for field in right.split()]
        fields = tuple(_Field(kind, int(default or 0)) for kind, _, default in parts)
        rows.update(dict.fromkeys(names, _Row(int(code), fields)))
    return rows


_ROWS = _rows()
_BY_CODE = {row.code: row for row in _ROWS.values()}


def read_options(name: str, operator: Table, refuse: Callable[[str], Exception]) -> tuple[Any, ...]:
    """Return the fields of a builtin operator's options, in order.

    Runtimes use the defaults if the options are missing or belong to another operator.

    Args:
        name: Name of the operator.
        operator: Table of the operator.
        refuse: Function that converts a finding to an exception.

    Returns:
        Numbers and vectors; None for fields that are not checked. Empty for operators without a
        row in the table above.
    """
    slots = schema.Operator
    code = operator.number(slots.BUILTIN_OPTIONS_TYPE, "B")
    options = operator.table(slots.BUILTIN_OPTIONS)
    row = _ROWS.get(name)
    if row is None or (code != row.code and options is not None):
        _read(_BY_CODE.get(code), options)  # a runtime may still follow its offsets
    if row is None:
        return ()
    values = _read(row, options if code == row.code else None)
    for number, (field, value) in enumerate(zip(row.fields, values, strict=True)):
        _, least, most = _KINDS.get(field.kind, ("", 0, 0))
        if field.kind in _KINDS and not least <= value <= most:
            raise refuse(f"option {number} ({field.kind}) of {name} is out of range: {value}")
    return values


def _read(row: _Row | None, options: Table | None) -> tuple[Any, ...]:
    if row is None:
        return ()
    return tuple(_value(field, slot, options) for slot, field in enumerate(row.fields))


def _value(field: _Field, slot: int, options: Table | None) -> Any:
    if field.kind in _KINDS:
        code = _KINDS[field.kind][0]
        return field.default if options is None else options.number(slot, code, field.default)
    if options is None or field.kind == "-":
        return () if field.kind in _VECTORS else None
    if field.kind == "text":
        return options.string(slot)
    return options.numbers(slot, _VECTORS[field.kind])
