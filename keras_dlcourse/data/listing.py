"""List folders of images, without what desktops and archivers leave behind."""

from __future__ import annotations

import os
from pathlib import Path

# Names that begin with a dot are ignored as well.
_CLUTTER = {"thumbs.db", "desktop.ini", "__macosx"}


def class_folders(root: Path) -> dict[str, Path]:
    """Return the folders in `root` by name. Names are decoded the same way in every locale.

    Raises:
        FileNotFoundError: If `root` is not a folder.
        ValueError: If a folder name is not a valid class name.
    """
    if not root.is_dir():
        raise FileNotFoundError(
            f"{root} is not a folder. Pass a folder that contains one folder of images per class."
        )
    folders = {_class_name(entry): entry for entry in _entries(root) if entry.is_dir()}
    return dict(sorted(folders.items()))


def _class_name(folder: Path) -> str:
    """Return the name of a folder as one line of text that can be stored in any file."""
    raw = os.fsencode(folder.name)  # the bytes on disk: how Python decodes them varies
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(
            "Names of class folders must be UTF-8, because they are stored in the model's files. "
            f"Received: {raw!r} in {display_name(folder.parent)}. Rename that folder."
        ) from None
    if name.splitlines() != [name] or not name.strip():
        raise ValueError(
            f"Names of class folders must be one line of text. Received: {name!r} in "
            f"{folder.parent}. Rename that folder."
        )
    return name


def display_name(path: Path) -> str:
    """Return the name of a file or folder as text, in any locale and for any bytes."""
    return os.fsencode(path.name).decode("utf-8", "replace")


def display_path(path: Path) -> str:
    """Return a path as text with slashes, in any locale and for any bytes."""
    return os.fsencode(path.as_posix()).decode("utf-8", "replace")


def list_subfolders(folder: Path) -> set[str]:
    """Return the names of the folders in a folder."""
    with os.scandir(folder) as entries:  # avoids a stat call for each file
        return {
            display_name(Path(entry.name))
            for entry in entries
            if entry.is_dir() and not _is_clutter(entry.name)
        }


def files_below(folder: Path, seen: set[tuple[int, int]]) -> list[Path]:
    """Return the files below a folder in sorted order, visiting each folder once (link loops)."""
    seen.add(identify(folder))
    files: list[Path] = []
    for entry in _entries(folder):
        if not entry.is_dir():
            files.append(entry)
        elif identify(entry) not in seen:
            files += files_below(entry, seen)
    return files


def _entries(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not _is_clutter(entry.name))


def _is_clutter(name: str) -> bool:
    return name.startswith(".") or name.lower() in _CLUTTER


def identify(path: Path) -> tuple[int, int]:
    """Return what tells a file or folder from all others, whatever links lead to it."""
    status = path.stat()
    return status.st_dev, status.st_ino
