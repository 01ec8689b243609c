"""Check files against the SHA-256 list `SHA256SUMS` in the same folder, as in bundles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_dlcourse.edge.tflite.flatbuffer import InvalidModel

if TYPE_CHECKING:
    from pathlib import Path

SUMS = "SHA256SUMS"


def sha256(data: bytes) -> bytes:
    """Return the SHA-256 of data."""
    import hashlib  # imported here because only galleries and bundles need it

    return hashlib.sha256(data).digest()


def check_sum(path: Path, content: bytes) -> None:
    """Reject a file whose content does not match `SHA256SUMS` in the same folder.

    If there is no such list, or it does not name the file, nothing is checked.

    Args:
        path: Path of the file.
        content: Content of the file.

    Raises:
        InvalidModel: If the SHA-256 does not match.
        OSError: If the list cannot be read.
    """
    sums = path.with_name(SUMS)
    if not sums.is_file():
        return
    for line in sums.read_text(encoding="utf-8", errors="replace").splitlines():
        expected, _, name = line.partition(" ")
        if name[1:] == path.name and expected.lower() != sha256(content).hex():
            raise InvalidModel(
                f"{path} does not match its SHA-256 in {SUMS}. "
                f"Copy it again or, if it was changed on purpose, remove its line from {SUMS}."
            )
