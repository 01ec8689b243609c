"""Add a class to the gallery in this folder from a few images.

    python enroll.py "my mug" mug1.jpg mug2.jpg
    python enroll.py cat cats/*.jpg --threshold 0.3     images beyond this distance are unknown
    python enroll.py --remove cat
    python enroll.py --match mean                       compare with the mean of each class

Prints one line of JSON: {"labels": {"my mug": 2, …}, "threshold": …}.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from keras_dlcourse.edge import Gallery, ImageEmbedder

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Change the gallery as given on the command line and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("label", nargs="?")
    parser.add_argument("images", nargs="*", type=Path)
    parser.add_argument("--remove", metavar="LABEL")
    parser.add_argument("--threshold", type=float, metavar="DISTANCE")
    parser.add_argument("--match", choices=["nearest", "mean"])
    parser.add_argument("--gallery", type=Path, default=HERE / "gallery.kdg", metavar="FILE")
    arguments = parser.parse_args()
    if bool(arguments.label) != bool(arguments.images):
        parser.error("pass a label together with its images")
    changes = (arguments.label, arguments.remove, arguments.threshold, arguments.match)
    if all(change is None for change in changes):
        parser.error("pass a label and images, --remove LABEL, --threshold or --match")

    try:
        embedder = ImageEmbedder(HERE / "model.tflite")
        path = arguments.gallery
        gallery = Gallery.load(path, embedder) if path.exists() else Gallery(embedder)
        if arguments.remove:
            gallery.remove(arguments.remove)
        if arguments.threshold is not None:
            gallery.threshold = arguments.threshold
        if arguments.match:
            gallery.match = arguments.match
        if arguments.images:
            gallery.enroll(arguments.label, arguments.images)
        gallery.save(path)
    except (OSError, TypeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    found = {"labels": gallery.counts, "threshold": gallery.threshold}
    print(json.dumps(found, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
