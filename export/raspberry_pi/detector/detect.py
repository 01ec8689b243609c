"""Find objects with the model in this folder.

    python detect.py photo.jpg other.png      find objects once, print results to standard output
    python detect.py photo.jpg -o drawn       save photo.jpg.png there, with boxes drawn in
    python detect.py --watch inbox            watch a folder and search its images, until stopped

Prints one line of JSON per image: {"image": …, "detections": [{"label": …, "score": …, "box": …}]},
where box is [left, top, width, height] in pixels of the image.
"""

from __future__ import annotations

import sys
from pathlib import Path

from keras_dlcourse.edge import Detection, ObjectDetector, draw_detections
from keras_dlcourse.edge.commands.inbox import answer_images, image_parser, parse_images

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Search the images given on the command line and return the exit code."""
    parser = image_parser(__doc__)
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER")
    parser.add_argument("--score-threshold", type=float, metavar="SCORE")
    arguments = parse_images(parser, pictures=["output"])

    detector = ObjectDetector(HERE / "model.tflite", threads=arguments.threads)
    print(f"model.tflite on {detector.runtime}", file=sys.stderr, flush=True)
    folder = arguments.output
    if folder:
        folder.mkdir(parents=True, exist_ok=True)

    def answer(path: Path) -> dict[str, object]:
        found = detector.detect(path, score_threshold=arguments.score_threshold)
        if folder:
            draw_detections(path, found).save(folder / f"{path.name}.png")
        return {"detections": [*map(as_table, found)]}

    return answer_images(arguments, answer)


def as_table(found: Detection) -> dict[str, object]:
    """Return an object as JSON-able values."""
    (best,) = found.categories
    return {"label": best.label, "score": round(best.score, 4), "box": found.bounding_box}


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
