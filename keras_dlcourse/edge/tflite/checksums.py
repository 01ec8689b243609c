"""The SHA-256 of files that `SHA256SUMS` beside them lists, as bundles have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_dlcourse.edge.tflite.flatbuffer import InvalidModel

if TYPE_CHECKING:
    from pathlib import Path

SUMS = "SHA256SUMS"


def sha256(data: bytes) -> bytes:
    """Return the SHA-256 of data."""
    import hashlib  # here, because only galleries and bundles need it

    return hashlib.sha256(data).digest()


def check_sum(path: Path, content: bytes) -> None:
    """Refuse a file whose content is not what `SHA256SUMS` beside it says.

    Where there is no such list, or it does not name the file, there is nothing to compare.

    Args:
        path: Where it stands.
        content: What it holds.

    Raises:
        InvalidModel: If its SHA-256 is another one.
        OSError: If the list cannot be read.
    """
    sums = path.with_name(SUMS)
    if not sums.is_file():
        return
    for line in sums.read_text(encoding="utf-8", errors="replace").splitlines():
        expected, _, name = line.partition(" ")
        if name[1:] == path.name and expected.lower() != sha256(content).hex():
            raise InvalidModel(
                f"{path} is not the file that {SUMS} beside it lists: its SHA-256 is another one. "
                f"Copy it again; if it was changed on purpose, take its line out of {SUMS}"
            )
