"""Name images by the gallery beside this file, which enroll.py makes.

    python identify.py photo.jpg other.png     once, results on standard output
    python identify.py --watch inbox           every image that appears in a folder, until stopped

One line of JSON an image: {"image": …, "label": …, "distance": …, "nearest": …}. The label is
"unknown" beyond the gallery's threshold. While watching, a changed gallery is read again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from keras_dlcourse.edge import Gallery, ImageEmbedder
from keras_dlcourse.edge.commands.inbox import appearing

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Identify what the command line names; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("images", nargs="*", type=Path)
    parser.add_argument("--watch", type=Path, metavar="FOLDER")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--gallery", type=Path, default=HERE / "gallery.kdg", metavar="FILE")
    arguments = parser.parse_args()
    if bool(arguments.images) == bool(arguments.watch):
        parser.error("give images, or --watch FOLDER")
    if arguments.watch and not arguments.watch.is_dir():
        parser.error(f"there is no folder {arguments.watch}")

    gallery = GalleryOnDisk(
        arguments.gallery, ImageEmbedder(HERE / "model.tflite", threads=arguments.threads)
    )
    print(f"model.tflite on {gallery.embedder.runtime}", file=sys.stderr, flush=True)
    failed = 0
    for path in appearing(arguments.watch) if arguments.watch else arguments.images:
        try:
            identity = gallery.now().identify(path)
        except (OSError, ValueError) as error:  # one bad image must not stop a service
            print(f"{path}: {error}", file=sys.stderr, flush=True)
            failed += 1
            continue
        found = {
            "image": str(path),
            "label": identity.label,
            "distance": round(identity.distance, 4),
            "nearest": identity.nearest,
        }
        print(json.dumps(found, ensure_ascii=False), flush=True)
    return 1 if failed else 0


class GalleryOnDisk:
    """A gallery that is read again when its file has been replaced."""

    def __init__(self, path: Path, embedder: ImageEmbedder) -> None:
        self.path, self.embedder = path, embedder
        self._gallery: Gallery | None = None
        self._stamp: tuple[int, int] | None = None

    def now(self) -> Gallery:
        """Return what stands on the disk now."""
        status = self.path.stat()
        stamp = status.st_mtime_ns, status.st_size
        if self._gallery is None or stamp != self._stamp:
            self._gallery = Gallery.load(self.path, self.embedder)
            self._stamp = stamp
        return self._gallery


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
