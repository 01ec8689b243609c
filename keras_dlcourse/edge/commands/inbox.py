"""The images of a runner on a device: given on its command line, or appearing in a folder."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

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


def image_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of images, `--watch` and `--threads`, for `parse_images`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("images", nargs="*", type=Path)
    parser.add_argument("--watch", type=Path, metavar="FOLDER")
    parser.add_argument("--threads", type=int, default=None)
    return parser


def parse_images(
    parser: argparse.ArgumentParser, pictures: Iterable[str] | None = None
) -> argparse.Namespace:
    """Return the arguments of the command line; exit with a message if they contradict each other.

    Args:
        parser: From `image_parser`, with further arguments.
        pictures: Names of the arguments that are folders, in which each image has a picture of its
            name.
    """
    arguments = parser.parse_args()
    if bool(arguments.images) == bool(arguments.watch):
        parser.error("pass either images or --watch FOLDER")
    if arguments.watch and not arguments.watch.is_dir():
        parser.error(f"folder {arguments.watch} does not exist")
    if pictures is None:
        return arguments
    if len({path.name for path in arguments.images}) < len(arguments.images):
        parser.error("the images must have different names, as their pictures do")
    folders = [folder.resolve() for name in pictures if (folder := getattr(arguments, name))]
    if arguments.watch and arguments.watch.resolve() in folders:
        parser.error("pictures must be saved outside of the watched folder")
    return arguments


def answer_images(
    arguments: argparse.Namespace, answer: Callable[[Path], Mapping[str, Any]]
) -> int:
    """Print a line of JSON for each image, and return the exit code.

    Args:
        arguments: From `parse_images`.
        answer: Function of a path that returns what is printed behind it. If it raises OSError or
            ValueError, that is printed to standard error instead, and the next image is taken: one
            bad image must not stop a service.
    """
    failed = 0
    for path in watch_folder(arguments.watch) if arguments.watch else arguments.images:
        try:
            found = answer(path)
        except (OSError, ValueError) as error:
            print(f"{path}: {error}", file=sys.stderr, flush=True)
            failed += 1
            continue
        print(json.dumps({"image": str(path), **found}, ensure_ascii=False), flush=True)
    return 1 if failed else 0
