"""Watch a folder for images, for services on a device."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp"}


def watch_folder(folder: Path, pause: float = 0.5) -> Iterator[Path]:
    """Yield each image in a folder once it has stopped growing; polls forever.

    Args:
        folder: Folder to watch, without its subfolders.
        pause: Seconds between polls.
    """
    done: set[tuple[Path, int]] = set()
    sizes: dict[Path, int] = {}
    while True:
        for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            if (path, status.st_mtime_ns) not in done and sizes.get(path) == status.st_size:
                done.add((path, status.st_mtime_ns))
                yield path
            sizes[path] = status.st_size
        time.sleep(pause)
