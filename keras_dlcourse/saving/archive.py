"""The zip of a `.keras` file, read without trust in anything that it says of itself."""

from __future__ import annotations

import io
import stat
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any

from keras_dlcourse.saving.errors import InvalidModelFile, printable

CONFIG, WEIGHTS, METADATA = "config.json", "model.weights.h5", "metadata.json"
ASSETS = "assets/"

MAX_BYTES = 4 * 1024**3
"""What all members may hold: twice VGG-16 with the state of Adam, and more."""

MAX_CONFIG_BYTES = 16 * 1024**2
"""What `config.json` or a vocabulary may hold: the config of EfficientNetB7 takes 0.8 MB."""

MAX_ASSETS = 1000
"""How many vocabularies a file may bring along."""

MAX_RATIO = 100
"""How much a member of over 16 MiB may shrink in the zip. Keras does not compress at all."""

_FREE_OF_RATIO = 16 * 1024**2
_CHUNK = 1024**2


@dataclass(frozen=True)
class Contents:
    """What the members hold, read to their ends, so that their checksums are right.

    Attributes:
        config: `config.json`.
        weights: `model.weights.h5`.
        assets: Names of the members under `assets/`.
    """

    config: bytes
    weights: io.BytesIO
    assets: tuple[str, ...]


def read(file: IO[bytes], max_bytes: int = MAX_BYTES) -> Contents:
    """Check an archive and read it.

    Args:
        file: The file, open.
        max_bytes: What its members may hold, all together.

    Raises:
        InvalidModelFile: If it is no archive as Keras writes them, is damaged, or too large.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            _check_names([member.filename for member in members])
            for member in members:
                _check(member)
            if sum(member.file_size for member in members) > max_bytes:
                raise InvalidModelFile(f"its members hold more than max_bytes={max_bytes:,} bytes")
            held = {member.filename: _contents(archive, member) for member in members}
    except InvalidModelFile:
        raise
    except Exception as error:  # zipfile raises many kinds on damaged archives
        raise InvalidModelFile(
            f"it is no whole zip archive, which a .keras file is: {printable(error)}"
        ) from error
    assets = tuple(name for name in held if name.startswith(ASSETS))
    return Contents(held[CONFIG].getvalue(), held[WEIGHTS], assets)


def _check_names(names: Sequence[str]) -> None:
    """Let through what Keras writes: three members, and files under `assets/`."""
    if outside := [name for name in names if _leads_out(name)]:
        raise InvalidModelFile(f"its member {_listed(outside)} leads out of the archive")
    if double := [name for name, count in Counter(names).items() if count > 1]:
        raise InvalidModelFile(f"it has {_listed(double)} twice")
    known = (METADATA, CONFIG, WEIGHTS)
    others = [name for name in names if name not in known]
    if "model.weights.npz" in others:
        raise InvalidModelFile(
            "its weights are pickled (model.weights.npz), which runs code; save it anew with HDF5"
        )
    if strange := [name for name in others if not name.startswith(ASSETS) or name.endswith("/")]:
        raise InvalidModelFile(f"Keras writes no member {_listed(strange)} into a .keras file")
    if missing := [name for name in known if name not in names]:
        raise InvalidModelFile(f"it has no {_listed(missing)}, so it is no .keras file")
    if len(others) > MAX_ASSETS:
        raise InvalidModelFile(f"it has {len(others)} assets, more than {MAX_ASSETS}")


def _leads_out(name: str) -> bool:
    """Whether a name means a place outside of the folder that an archive is unpacked into."""
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or any(sign in name for sign in "\\:\0")


_FAULTS: tuple[tuple[Callable[[zipfile.ZipInfo], Any], str], ...] = (
    (lambda member: member.flag_bits & 0x41, "is encrypted"),
    (
        lambda member: member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),
        "is compressed in a way that Keras does not write",
    ),
    (
        lambda member: stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG),
        "is a link or a device, not a file",
    ),
    (
        lambda member: (
            member.file_size > _FREE_OF_RATIO
            and member.file_size > MAX_RATIO * member.compress_size
        ),
        f"grows more than {MAX_RATIO} times when it is unpacked",
    ),
    (
        lambda member: member.filename != WEIGHTS and member.file_size > MAX_CONFIG_BYTES,
        f"is larger than {MAX_CONFIG_BYTES:,} bytes",
    ),
)


def _check(member: zipfile.ZipInfo) -> None:
    """Refuse a member for what the archive says of it."""
    for is_so, what in _FAULTS:
        if is_so(member):
            raise InvalidModelFile(f"its member {printable(member.filename)} {what}")


def _contents(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> io.BytesIO:
    """Return what a member holds, piece by piece up to the size that it was let through with."""
    whole = io.BytesIO()
    with archive.open(member) as stream:  # raises at its end if the checksum is another
        while whole.tell() <= member.file_size and (piece := stream.read(_CHUNK)):
            whole.write(piece)
    if whole.tell() != member.file_size:
        raise InvalidModelFile(f"its member {member.filename} is not as long as it says")
    whole.seek(0)
    return whole


def _listed(names: Sequence[str]) -> str:
    return ", ".join(printable(name) for name in names[:10])
