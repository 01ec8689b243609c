"""Read the zip archive of a `.keras` file without trusting any of its contents."""

from __future__ import annotations

import io
import stat
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any

from keras_dlcourse.saving.errors import InvalidModelFile, escape_text

CONFIG, WEIGHTS, METADATA = "config.json", "model.weights.h5", "metadata.json"
ASSETS = "assets/"

MAX_BYTES = 4 * 1024**3
"""Limit for all members together: more than twice VGG-16 with the state of Adam."""

MAX_CONFIG_BYTES = 16 * 1024**2
"""Limit for `config.json` and for each vocabulary: the config of EfficientNetB7 takes 0.8 MB."""

MAX_ASSETS = 1000
"""Maximum number of vocabulary files in an archive."""

MAX_RATIO = 100
"""Maximum compression ratio of members of more than 16 MiB. Keras does not compress at all."""

_FREE_OF_RATIO = 16 * 1024**2
_CHUNK = 1024**2


@dataclass(frozen=True)
class Contents:
    """Contents of the members, which have been read completely to verify their checksums.

    Attributes:
        config: Contents of `config.json`.
        weights: Contents of `model.weights.h5`.
        assets: Names of the members under `assets/`.
    """

    config: bytes
    weights: io.BytesIO
    assets: tuple[str, ...]


def read(file: IO[bytes], max_bytes: int = MAX_BYTES) -> Contents:
    """Check and read an archive.

    Args:
        file: The open file.
        max_bytes: Maximum uncompressed size of all members together.

    Raises:
        InvalidModelFile: If it is not an archive as written by Keras, is damaged, or is too large.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            _check_names([member.filename for member in members])
            for member in members:
                _check(member)
            if sum(member.file_size for member in members) > max_bytes:
                raise InvalidModelFile(
                    f"its members contain more than max_bytes={max_bytes:,} bytes"
                )
            held = {member.filename: _contents(archive, member) for member in members}
    except InvalidModelFile:
        raise
    except Exception as error:  # zipfile raises many types of errors for damaged archives
        raise InvalidModelFile(
            f"it is not a valid zip archive, as a .keras file must be: {escape_text(error)}"
        ) from error
    assets = tuple(name for name in held if name.startswith(ASSETS))
    return Contents(held[CONFIG].getvalue(), held[WEIGHTS], assets)


def _check_names(names: Sequence[str]) -> None:
    """Accept only the members that Keras writes: three files, and files under `assets/`."""
    if outside := [name for name in names if _leads_out(name)]:
        raise InvalidModelFile(
            f"its member {_join_names(outside)} has a path outside of the archive"
        )
    if double := [name for name, count in Counter(names).items() if count > 1]:
        raise InvalidModelFile(f"it contains {_join_names(double)} more than once")
    known = (METADATA, CONFIG, WEIGHTS)
    others = [name for name in names if name not in known]
    if "model.weights.npz" in others:
        raise InvalidModelFile(
            "its weights are pickled (model.weights.npz), which can run code. Save it again with "
            "HDF5 weights"
        )
    if strange := [name for name in others if not name.startswith(ASSETS) or name.endswith("/")]:
        raise InvalidModelFile(
            f"it contains {_join_names(strange)}, which Keras does not write to .keras files"
        )
    if missing := [name for name in known if name not in names]:
        raise InvalidModelFile(f"it has no {_join_names(missing)}, so it is not a .keras file")
    if len(others) > MAX_ASSETS:
        raise InvalidModelFile(f"it has {len(others)} assets, more than {MAX_ASSETS}")


def _leads_out(name: str) -> bool:
    """Return whether a name refers to a path outside of the folder the archive is unpacked to."""
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
        f"grows more than {MAX_RATIO} times when unpacked",
    ),
    (
        lambda member: member.filename != WEIGHTS and member.file_size > MAX_CONFIG_BYTES,
        f"is larger than {MAX_CONFIG_BYTES:,} bytes",
    ),
)


def _check(member: zipfile.ZipInfo) -> None:
    """Raise InvalidModelFile if the archive's entry for a member is not acceptable."""
    for is_so, what in _FAULTS:
        if is_so(member):
            raise InvalidModelFile(f"its member {escape_text(member.filename)} {what}")


def _contents(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> io.BytesIO:
    """Return the contents of a member, read in pieces up to the declared size."""
    whole = io.BytesIO()
    with archive.open(member) as stream:  # raises at the end if the checksum does not match
        while whole.tell() <= member.file_size and (piece := stream.read(_CHUNK)):
            whole.write(piece)
    if whole.tell() != member.file_size:
        raise InvalidModelFile(f"its member {member.filename} does not have the declared size")
    whole.seek(0)
    return whole


def _join_names(names: Sequence[str]) -> str:
    return ", ".join(escape_text(name) for name in names[:10])
