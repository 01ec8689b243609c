"""Classify images with the model beside this file.

    python classify.py photo.jpg other.png     once, results on standard output
    python classify.py --watch inbox           every image that appears in a folder, until stopped

One line of JSON an image: {"image": …, "categories": [{"label": …, "score": …}, …]}. The likeliest
three are listed; all that are there, if the model has a threshold for each class.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from keras_dlcourse.edge import ImageClassifier
from keras_dlcourse.edge.commands.inbox import appearing

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Classify what the command line names; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("images", nargs="*", type=Path)
    parser.add_argument("--watch", type=Path, metavar="FOLDER")
    parser.add_argument("--max-results", type=int, default=None)
    parser.add_argument("--threads", type=int, default=None)
    arguments = parser.parse_args()
    if bool(arguments.images) == bool(arguments.watch):
        parser.error("give images, or --watch FOLDER")
    if arguments.watch and not arguments.watch.is_dir():
        parser.error(f"there is no folder {arguments.watch}")

    classifier = ImageClassifier(HERE / "model.tflite", threads=arguments.threads)
    print(f"model.tflite on {classifier.runtime}", file=sys.stderr, flush=True)
    most = arguments.max_results
    if most is None and classifier.score_thresholds is None:
        most = 3
    failed = 0
    for path in appearing(arguments.watch) if arguments.watch else arguments.images:
        try:
            categories = classifier.classify(path, max_results=most)
        except (OSError, ValueError) as error:  # one bad image must not stop a service
            print(f"{path}: {error}", file=sys.stderr, flush=True)
            failed += 1
            continue
        found = [{"label": c.label, "score": round(c.score, 4)} for c in categories]
        print(json.dumps({"image": str(path), "categories": found}, ensure_ascii=False), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
