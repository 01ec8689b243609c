"""Find objects with the model in this folder.

    python detect.py photo.jpg other.png      find objects once, print results to standard output
    python detect.py photo.jpg -o drawn       save photo.jpg.png there, with boxes drawn in
    python detect.py --watch inbox            watch a folder and search its images, until stopped

Prints one line of JSON per image: {"image": …, "detections": [{"label": …, "score": …, "box": …}]},
where box is [left, top, width, height] in pixels of the image.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from keras_dlcourse.edge import Detection, ObjectDetector, draw_detections
from keras_dlcourse.edge.commands.inbox import watch_folder

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Search the images given on the command line and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("images", nargs="*", type=Path)
    parser.add_argument("--watch", type=Path, metavar="FOLDER")
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER")
    parser.add_argument("--score-threshold", type=float, metavar="SCORE")
    parser.add_argument("--threads", type=int, default=None)
    arguments = parser.parse_args()
    if bool(arguments.images) == bool(arguments.watch):
        parser.error("pass either images or --watch FOLDER")
    if arguments.watch and not arguments.watch.is_dir():
        parser.error(f"folder {arguments.watch} does not exist")
    if len({path.name for path in arguments.images}) < len(arguments.images):
        parser.error("the images must have different names, as their pictures do")
    folder = arguments.output
    if folder and arguments.watch and arguments.watch.resolve() == folder.resolve():
        parser.error("pictures must be saved outside of the watched folder")

    detector = ObjectDetector(HERE / "model.tflite", threads=arguments.threads)
    print(f"model.tflite on {detector.runtime}", file=sys.stderr, flush=True)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    failed = 0
    for path in watch_folder(arguments.watch) if arguments.watch else arguments.images:
        try:
            found = detector.detect(path, score_threshold=arguments.score_threshold)
            if folder:
                draw_detections(path, found).save(folder / f"{path.name}.png")
        except (OSError, ValueError) as error:  # one bad image must not stop a service
            print(f"{path}: {error}", file=sys.stderr, flush=True)
            failed += 1
            continue
        result = {"image": str(path), "detections": [*map(as_table, found)]}
        print(json.dumps(result, ensure_ascii=False), flush=True)
    return 1 if failed else 0


def as_table(found: Detection) -> dict[str, object]:
    """Return an object as JSON-able values."""
    (best,) = found.categories
    return {"label": best.label, "score": round(best.score, 4), "box": found.bounding_box}


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
