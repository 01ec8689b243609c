"""The `detect` command, shared by `python -m` and `keras-dlcourse`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from keras_dlcourse.edge.commands.common import (
    add_command,
    add_common_options,
    add_images,
    add_model_options,
    add_picture,
    answer_each,
    model_options,
    one_sentence,
    pictures_of,
    read_labels,
    real_number,
    whole_number,
)
from keras_dlcourse.edge.vision.detector import SCORE_THRESHOLD, ObjectDetector
from keras_dlcourse.edge.vision.drawing import draw_detections
from keras_dlcourse.edge.vision.images import read_image

if TYPE_CHECKING:
    from keras_dlcourse.edge.commands.common import Subparsers
    from keras_dlcourse.edge.results import Detection

_EXAMPLES = """examples:
  %(prog)s detector.int8.tflite photo.jpg -o boxes.png
  %(prog)s detector.int8.tflite photos/*.jpg -o drawn/ --score-threshold 0.5 --json
  %(prog)s detector.int8.tflite photo.jpg --allow cat dog
"""


def add_detect_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Add the `detect` command; its `func` takes the parsed arguments and returns the exit code.

    Args:
        subparsers: Return value of `ArgumentParser.add_subparsers`.
    """
    parser = add_command(
        subparsers,
        "detect",
        detect,
        "find the objects in an image with a .tflite detector",
        _EXAMPLES,
        " Prints the class, score and bounding box of each object, and draws them.",
    )
    add_images(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="output image with the boxes drawn in; a folder if there are several images",
    )
    parser.add_argument(
        "--score-threshold",
        type=real_number,
        metavar="S",
        help="minimum score to list, from 0 to 1 (default: the thresholds of the file, else "
        f"{SCORE_THRESHOLD})",
    )
    parser.add_argument(
        "--max-results", type=whole_number, metavar="N", help="maximum number of objects"
    )
    for option, what in (("allow", "the only classes to find"), ("deny", "classes not to find")):
        parser.add_argument(f"--{option}", metavar="LABEL", nargs="+", help=f"names of {what}")
    parser.add_argument(
        "--labels", metavar="FILE", help="text file with one class name per line, instead of the "
        "file's"
    )  # fmt: skip
    add_model_options(parser)
    add_common_options(parser)
    return parser


@one_sentence
def detect(arguments: argparse.Namespace) -> int:
    """Print the objects in each image; unreadable images are reported and skipped."""
    labels = None if arguments.labels is None else read_labels(arguments.labels)
    detector = ObjectDetector(arguments.model, labels=labels, **model_options(arguments))
    pictures = pictures_of("--output", arguments.output, arguments.images)

    def answer(image: str) -> tuple[dict[str, Any], list[str]]:
        pixels = read_image(image, bits=arguments.bits)
        found = detector.detect(
            pixels,
            arguments.max_results,
            arguments.score_threshold,
            arguments.allow,
            arguments.deny,
        )
        lines = [image, *(map(_line, found) if found else ["  none"])]
        told = {"image": image, "detections": [*map(_table, found)]}, lines
        add_picture(told, "picture", pictures.get(image), lambda: draw_detections(pixels, found))
        return told

    return answer_each(arguments, answer)


def _table(found: Detection) -> dict[str, Any]:
    """Return a detection as JSON-serializable values with MediaPipe's field names."""
    box = found.bounding_box
    return {
        "bounding_box": None if box is None else box._asdict(),
        "categories": [category._asdict() for category in found.categories],
    }


def _line(found: Detection) -> str:
    (category,), box = found.categories, found.bounding_box
    place = "" if box is None else f"  {box.width} x {box.height} at {box.origin_x}, {box.origin_y}"
    return f"  {category.score:.4f}  {category.label}{place}"
