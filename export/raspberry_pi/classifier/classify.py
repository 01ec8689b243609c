"""Classify images with the model in this folder.

    python classify.py photo.jpg other.png     classify once, print results to standard output
    python classify.py --watch inbox           watch a folder and classify its images, until stopped

Prints one line of JSON per image: {"image": …, "categories": [{"label": …, "score": …}, …]}.
Lists the three most likely categories, or all that reach their threshold if the model has a
threshold for each class.
"""

from __future__ import annotations

import sys
from pathlib import Path

from keras_dlcourse.edge import ImageClassifier
from keras_dlcourse.edge.commands.inbox import answer_images, image_parser, parse_images

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Classify the images given on the command line and return the exit code."""
    parser = image_parser(__doc__)
    parser.add_argument("--max-results", type=int, default=None)
    arguments = parse_images(parser)

    classifier = ImageClassifier(HERE / "model.tflite", threads=arguments.threads)
    print(f"model.tflite on {classifier.runtime}", file=sys.stderr, flush=True)
    most = arguments.max_results
    if most is None and classifier.score_thresholds is None:
        most = 3

    def answer(path: Path) -> dict[str, object]:
        categories = classifier.classify(path, max_results=most)
        return {"categories": [{"label": c.label, "score": round(c.score, 4)} for c in categories]}

    return answer_images(arguments, answer)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
