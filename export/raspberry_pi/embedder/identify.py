"""Identify images with the gallery in this folder, which enroll.py creates.

    python identify.py photo.jpg other.png     identify once, print results to standard output
    python identify.py --watch inbox           watch a folder and identify its images, until stopped

Prints one line of JSON per image: {"image": …, "label": …, "distance": …, "nearest": …}.
The label is "unknown" beyond the gallery's threshold. The gallery is reloaded when it changes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from keras_dlcourse.edge import Gallery, ImageEmbedder
from keras_dlcourse.edge.commands.inbox import answer_images, image_parser, parse_images

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Identify the images given on the command line and return the exit code."""
    parser = image_parser(__doc__)
    parser.add_argument("--gallery", type=Path, default=HERE / "gallery.kdg", metavar="FILE")
    arguments = parse_images(parser)

    gallery = GalleryOnDisk(
        arguments.gallery, ImageEmbedder(HERE / "model.tflite", threads=arguments.threads)
    )
    print(f"model.tflite on {gallery.embedder.runtime}", file=sys.stderr, flush=True)

    def answer(path: Path) -> dict[str, object]:
        identity = gallery.now().identify(path)
        return {
            "label": identity.label,
            "distance": round(identity.distance, 4),
            "nearest": identity.nearest,
        }

    return answer_images(arguments, answer)


class GalleryOnDisk:
    """A gallery that is reloaded when its file has been replaced."""

    def __init__(self, path: Path, embedder: ImageEmbedder) -> None:
        self.path, self.embedder = path, embedder
        self._gallery: Gallery | None = None
        self._stamp: tuple[int, int] | None = None

    def now(self) -> Gallery:
        """Return the current gallery on disk."""
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
