"""A folder of checkpoints that survives kills, full disks and flipped bits.

Each file is written to a temporary file, flushed and renamed. `checkpoints.json` lists the written
files with their SHA-256, oldest first. A file's new hash is added before the new content replaces
the old one, and the old hash is kept, so every intact file is listed at any moment.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from keras_dlcourse._files import flush, remove_leftovers, user_path, write_atomically, write_text

MANIFEST = "checkpoints.json"
_COPY = ".checkpoints.json"  # backup in case the manifest is damaged
_LOCK = ".checkpoints.lock"


@dataclass(frozen=True)
class Checkpoint:
    """The manifest's entry for a file.

    Attributes:
        name: File name in the folder.
        sha256: SHA-256 of its content, as hexadecimal digits.
        bytes: Its size.
        saved: Date and time when it was saved.
        group: Group of checkpoints that it belongs to, such as the pattern of its name.
        facts: Additional information, such as the epoch.
    """

    name: str
    sha256: str
    bytes: int
    saved: str = ""
    group: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


class CheckpointFolder:
    """Write checkpoints to a folder and find the newest intact one.

    Args:
        path: The folder. It is created when the first file is written.

    Example:
        >>> import tempfile
        >>> folder = CheckpointFolder(tempfile.mkdtemp())
        >>> _ = folder.save("a.txt", lambda path: path.write_text("one"), epoch=1)
        >>> [(found.name, found.facts) for found in folder.checkpoints()]
        [('a.txt', {'epoch': 1})]
        >>> _ = (folder.path / "a.txt").write_text("two")
        >>> folder.is_whole(folder.checkpoints()[0])
        False
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = user_path(path)
        self._lock: FileLock | None = None

    def lock(self) -> None:
        """Lock the folder against other runs until `unlock` or until this process ends.

        Raises:
            RuntimeError: If another run has locked the folder.
            OSError: If the folder cannot be written to.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        # A reentrant lock per process, because several callbacks of a run share the folder.
        lock = FileLock(self.path / _LOCK, timeout=0, is_singleton=True)
        try:
            lock.acquire()
        except Timeout as error:
            raise RuntimeError(
                f"{self.path} is in use by another run, and the two would overwrite each other's "
                "checkpoints. Stop that run, or use another folder for this one."
            ) from error
        self._lock = lock
        remove_leftovers(self.path)

    def unlock(self) -> None:
        """Unlock the folder for other runs."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def checkpoints(self) -> list[Checkpoint]:
        """Return the manifest's entries, oldest first. For repeated names, the last is the newest.

        Raises:
            ValueError: If both the manifest and its backup are damaged.
        """
        there = [path for path in (self.path / MANIFEST, self.path / _COPY) if path.exists()]
        for path in there:
            with suppress(ValueError, KeyError, TypeError):
                content = json.loads(path.read_text(encoding="utf-8"))
                found = [Checkpoint(**row) for row in content["checkpoints"]]
                plain = all(Path(row.name).name == row.name for row in found)
                if plain and content["sha256"] == _digest(content["checkpoints"]):
                    return found
        if there:
            raise ValueError(
                f"{there[0]} is damaged, so the checkpoints cannot be verified. Delete it to use "
                "them without verification."
            )
        return []

    def save(
        self, name: str, write: Callable[[Path], object], group: str = "", **facts: Any
    ) -> Path:
        """Write a file atomically.

        Args:
            name: File name in the folder. An existing file is kept as `name.previous.suffix`.
            write: Called with a path to write to.
            group: Group of checkpoints that the file belongs to; `prune` works on one group.
            **facts: Additional information to store in the manifest.

        Returns:
            The path of the file.

        Raises:
            OSError: If the file cannot be written. Existing files are unchanged then.
        """
        path = self.path / name
        if self._lock is not None and not self.path.is_dir():
            raise FileNotFoundError(f"the folder {self.path} no longer exists")
        with write_atomically(path) as temporary:
            write(temporary)
            with ThreadPoolExecutor(1) as other:  # hashing takes as long as flushing
                digest = other.submit(sha256_of, temporary)
                flush(temporary)
            new = Checkpoint(
                name,
                digest.result(),
                temporary.stat().st_size,
                datetime.now().astimezone().isoformat(timespec="seconds"),
                group,
                facts,
            )
            kept = self.checkpoints()
            older = [found for found in kept if found.name == name]
            if path.exists() and older:
                before = _previous_path(path)
                _link(path, before)
                kept += [Checkpoint(**{**asdict(old), "name": before.name}) for old in older[-1:]]
            self._write_manifest([*kept, new])
        return path

    def is_whole(self, checkpoint: Checkpoint) -> bool:
        """Return whether the file exists with the content that the manifest lists."""
        path = self.path / checkpoint.name
        try:
            return path.stat().st_size == checkpoint.bytes and sha256_of(path) == checkpoint.sha256
        except OSError:
            return False

    def find_intact(self, group: str | None = None) -> Iterator[Checkpoint]:
        """Yield intact checkpoints, newest first, and warn about damaged or missing ones.

        Args:
            group: Limit to this group; None for all.
        """
        known = [found for found in self.checkpoints() if group in (None, found.group)]
        told = set()
        for found in reversed(known):
            path = self.path / found.name
            if self.is_whole(found):
                yield found
            elif found.name not in told and not self._is_another(found, known):
                told.add(found.name)
                problem = "is damaged" if path.exists() else "is missing"
                warnings.warn(f"{path} {problem}. Using the previous checkpoint.", stacklevel=3)

    def prune(self, group: str, wanted: Callable[[list[Checkpoint]], list[Checkpoint]]) -> None:
        """Delete checkpoints of a group, once a newer one has been saved.

        Args:
            group: The group.
            wanted: Called with the existing checkpoints, oldest first; returns those to keep.
        """
        known = self.checkpoints()
        there = [
            found for found in known if found.group == group and (self.path / found.name).exists()
        ]
        names = {found.name for found in wanted(there)}
        gone = {found.name for found in there} - names
        if gone:
            for name in gone:
                (self.path / name).unlink(missing_ok=True)
            self._write_manifest([found for found in known if found.name not in gone])

    def remove(self) -> None:
        """Delete all listed files, the manifest, and the folder if it is empty then."""
        for found in self.checkpoints():
            (self.path / found.name).unlink(missing_ok=True)
        self.unlock()
        for name in (MANIFEST, _COPY, _LOCK):
            (self.path / name).unlink(missing_ok=True)
        with suppress(OSError):  # the folder contains other files
            self.path.rmdir()

    def _is_another(self, old: Checkpoint, known: list[Checkpoint]) -> bool:
        """Return whether the file has the content of another entry with the same name."""
        return any(self.is_whole(row) for row in known if row.name == old.name and row is not old)

    def _write_manifest(self, checkpoints: list[Checkpoint]) -> None:
        # Keep the previous entry of a replaced file, because a kill may come before the rename.
        rows = [
            asdict(found)
            for number, found in enumerate(checkpoints)
            if sum(later.name == found.name for later in checkpoints[number + 1 :]) < 2
        ]
        content = {"sha256": _digest(rows), "checkpoints": rows}
        for name in (MANIFEST, _COPY):
            write_text(self.path / name, json.dumps(content, indent=1) + "\n")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(rows: list[dict[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def _previous_path(path: Path) -> Path:
    """Return the path to which a file is moved when it is replaced."""
    ending = ".weights.h5" if path.name.endswith(".weights.h5") else path.suffix
    return path.with_name(f"{path.name.removesuffix(ending)}.previous{ending}")


def _link(path: Path, other: Path) -> None:
    """Give a file a second name atomically."""
    with write_atomically(other) as temporary:
        try:
            os.link(path, temporary)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, temporary)
