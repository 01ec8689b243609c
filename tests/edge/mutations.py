"""Damage to files, seeded: anywhere, or in the very fields that a reader of `.tflite` follows."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any
from unittest import mock

from keras_dlcourse.edge import InvalidModel, ModelFile
from keras_dlcourse.edge.tflite import flatbuffer

_WORDS = (0, 1, 2, 3, -1, -2, 127, 255, 1 << 16, 1 << 20, 2**31 - 1, -(2**31))


def mutations(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Yield damaged copies: bits flipped, words overwritten, blocks moved, parts cut out."""
    rng = random.Random(seed)
    for _ in range(count):
        yield _damaged(rng, content, [])


def mutated_files(files: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """Yield damaged copies of `.tflite` files in turn; half of the damage falls into fields."""
    rng = random.Random(seed)
    known = [fields(file) for file in files]
    for number in range(count):
        which = number % len(files)
        if rng.random() < 0.02:  # the beginning of one file, the end of another
            other = rng.choice(files)
            at = rng.randrange(min(len(other), len(files[which])))
            yield files[which][:at] + other[at:]
        else:
            yield _damaged(rng, files[which], known[which] if rng.random() < 0.5 else [])


def fields(content: bytes) -> list[tuple[int, int]]:
    """Return where `ModelFile.read` reads offsets, sizes, indices and numbers: start and length."""
    found = []
    check = flatbuffer._Source.check

    def watched(self: Any, position: int, size: int, cost: int) -> None:
        check(self, position, size, cost)
        if cost and len(self.data) == len(content):  # not the metadata, which start at 0 again
            found.append((position, size))

    with mock.patch.object(flatbuffer._Source, "check", watched), suppress(InvalidModel):
        ModelFile.read(content)
    return sorted({span for span in found if span[1]})


def _damaged(rng: random.Random, content: bytes, known: list[tuple[int, int]]) -> bytes:
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        if known:
            _damage_field(rng, data, *rng.choice(known))
        else:
            _damage_anything(rng, data)
        if not data:
            break
    return bytes(data)


def _damage_field(rng: random.Random, data: bytearray, start: int, length: int) -> None:
    """Give a field, or a number of a vector, another value."""
    size = min(length, 4)
    start += size * rng.randrange(length // size)
    field = slice(start, start + size)
    old = int.from_bytes(data[field], "little", signed=True)
    new = rng.choice((rng.choice(_WORDS), old + rng.choice((-1, 1)), rng.randrange(-20, 40)))
    data[field] = (new % (1 << 8 * size)).to_bytes(size, "little")


def _damage_anything(rng: random.Random, data: bytearray) -> None:
    kind, at = rng.randrange(6), rng.randrange(len(data))
    if kind <= 1:
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 2:
        data[at] = rng.choice((0, 1, 127, 128, 255))
    elif kind == 3:
        word = rng.choice((0, 1, -1, 2**31 - 1, -(2**31), rng.randrange(len(data))))
        data[at : at + 4] = word.to_bytes(4, "little", signed=True)
    elif kind == 4:
        source, length = rng.randrange(len(data)), rng.randrange(64)
        data[at : at + length] = data[source : source + length]
    else:
        del data[at : at + rng.choice((1, 2, 4, 64, len(data)))]
