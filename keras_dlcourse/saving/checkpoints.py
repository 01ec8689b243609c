"""A folder of checkpoints that a kill, a full disk or a flipped bit does not lose.

Each file is written beside, flushed and renamed. `checkpoints.json` lists what was written, oldest
first, with SHA-256; it names a file's new content before that content takes its place, and goes
on naming the one before, so that at no moment there is a whole file that it does not know.
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

from keras_dlcourse._files import flush, remove_leftovers, user_path, write_text, written_whole

MANIFEST = "checkpoints.json"
_COPY = ".checkpoints.json"  # for the day on which the other one is damaged
_LOCK = ".checkpoints.lock"


@dataclass(frozen=True)
class Checkpoint:
    """A file as the manifest knows it.

    Attributes:
        name: Name in the folder.
        sha256: Of its content, as hexadecimal digits.
        bytes: Its size.
        saved: Date and time.
        group: What it is one of, such as the pattern of its name.
        facts: What else was noted, such as the epoch.
    """

    name: str
    sha256: str
    bytes: int
    saved: str = ""
    group: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


class CheckpointFolder:
    """Write checkpoints to a folder and find the newest whole one.

    Args:
        path: The folder. It is made when the first file is written.

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
        """Keep other runs out until `unlock`, or until this process is gone.

        Raises:
            RuntimeError: If another run holds the folder.
            OSError: If the folder cannot be written to.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        # One lock for this process, counted: several callbacks of one run share the folder.
        lock = FileLock(self.path / _LOCK, timeout=0, is_singleton=True)
        try:
            lock.acquire()
        except Timeout as error:
            raise RuntimeError(
                f"{self.path} is in use by another run, which would overwrite its checkpoints: "
                "stop that run, or give this one a folder of its own."
            ) from error
        self._lock = lock
        remove_leftovers(self.path)

    def unlock(self) -> None:
        """Let other runs in."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def checkpoints(self) -> list[Checkpoint]:
        """Return what the manifest lists, oldest first; of a name twice, the last is the newest.

        Raises:
            ValueError: If the manifest and its copy are both damaged.
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
                f"{there[0]} is damaged, so that nobody can tell which checkpoints are whole. "
                "Delete it to use the files beside it unchecked."
            )
        return []

    def save(
        self, name: str, write: Callable[[Path], object], group: str = "", **facts: Any
    ) -> Path:
        """Write a file, or leave all as it was.

        Args:
            name: Name in the folder. A file that has it already is kept as `name.previous.suffix`.
            write: Called with a path to write to.
            group: What the file is one of; `prune` looks at one group.
            **facts: What to note beside it in the manifest.

        Returns:
            The path of the file.

        Raises:
            OSError: If it cannot be written; what was there before is still there, unchanged.
        """
        path = self.path / name
        if self._lock is not None and not self.path.is_dir():
            raise FileNotFoundError(f"the folder {self.path} is gone")
        with written_whole(path) as temporary:
            write(temporary)
            with ThreadPoolExecutor(1) as other:  # each takes as long as the writing did
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
                before = _previous(path)
                _link(path, before)
                kept += [Checkpoint(**{**asdict(old), "name": before.name}) for old in older[-1:]]
            self._write_manifest([*kept, new])
        return path

    def is_whole(self, checkpoint: Checkpoint) -> bool:
        """Say whether the file is there with the very content that the manifest lists."""
        path = self.path / checkpoint.name
        try:
            return path.stat().st_size == checkpoint.bytes and sha256_of(path) == checkpoint.sha256
        except OSError:
            return False

    def whole(self, group: str | None = None) -> Iterator[Checkpoint]:
        """Yield the whole ones, newest first, and say of each damaged one that it is.

        Args:
            group: Only those of this group.
        """
        known = [found for found in self.checkpoints() if group in (None, found.group)]
        told = set()
        for found in reversed(known):
            path = self.path / found.name
            if self.is_whole(found):
                yield found
            elif found.name not in told and not self._is_another(found, known):
                told.add(found.name)
                problem = "is damaged" if path.exists() else "is gone"
                warnings.warn(f"{path} {problem}; going back to the one before.", stacklevel=3)

    def prune(self, group: str, wanted: Callable[[list[Checkpoint]], list[Checkpoint]]) -> None:
        """Delete checkpoints of a group, after a newer one is whole.

        Args:
            group: The group.
            wanted: Called with those that are there, oldest first; returns those to keep.
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
        """Delete all that the manifest lists, the manifest, and the folder if that empties it."""
        for found in self.checkpoints():
            (self.path / found.name).unlink(missing_ok=True)
        self.unlock()
        for name in (MANIFEST, _COPY, _LOCK):
            (self.path / name).unlink(missing_ok=True)
        with suppress(OSError):  # others have put something there
            self.path.rmdir()

    def _is_another(self, old: Checkpoint, known: list[Checkpoint]) -> bool:
        """Say whether the file has the content of another row of its name."""
        return any(self.is_whole(row) for row in known if row.name == old.name and row is not old)

    def _write_manifest(self, checkpoints: list[Checkpoint]) -> None:
        # Of a file that was replaced, the row before is kept: the kill may come before the rename.
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


def _previous(path: Path) -> Path:
    """Return the name that a file has after another one took its place."""
    ending = ".weights.h5" if path.name.endswith(".weights.h5") else path.suffix
    return path.with_name(f"{path.name.removesuffix(ending)}.previous{ending}")


def _link(path: Path, other: Path) -> None:
    """Give a file a second name, without a moment at which that name is not there."""
    with written_whole(other) as temporary:
        try:
            os.link(path, temporary)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, temporary)
