"""Classify images with the model in this folder.

    python classify.py photo.jpg other.png     classify once, print results to standard output
    python classify.py --watch inbox           watch a folder and classify its images, until stopped

Prints one line of JSON per image: {"image": …, "categories": [{"label": …, "score": …}, …]}.
Lists the three most likely categories, or all that reach their threshold if the model has a
threshold for each class.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from keras_dlcourse.edge import ImageClassifier
from keras_dlcourse.edge.commands.inbox import watch_folder

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Classify the images given on the command line and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("images", nargs="*", type=Path)
    parser.add_argument("--watch", type=Path, metavar="FOLDER")
    parser.add_argument("--max-results", type=int, default=None)
    parser.add_argument("--threads", type=int, default=None)
    arguments = parser.parse_args()
    if bool(arguments.images) == bool(arguments.watch):
        parser.error("pass either images or --watch FOLDER")
    if arguments.watch and not arguments.watch.is_dir():
        parser.error(f"folder {arguments.watch} does not exist")

    classifier = ImageClassifier(HERE / "model.tflite", threads=arguments.threads)
    print(f"model.tflite on {classifier.runtime}", file=sys.stderr, flush=True)
    most = arguments.max_results
    if most is None and classifier.score_thresholds is None:
        most = 3
    failed = 0
    for path in watch_folder(arguments.watch) if arguments.watch else arguments.images:
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
