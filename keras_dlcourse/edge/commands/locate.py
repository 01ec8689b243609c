"""The `locate` command, shared by `python -m` and `keras-dlcourse`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_dlcourse.edge.commands.common import (
    add_command,
    add_common_options,
    add_images,
    add_model_options,
    add_picture,
    answer_each,
    category_lines,
    model_options,
    one_sentence,
    pictures_of,
)
from keras_dlcourse.edge.results import Detection
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.edge.vision.drawing import draw_detection
from keras_dlcourse.edge.vision.images import read_image
from keras_dlcourse.edge.vision.localizer import KeypointDetector, ObjectLocalizer

if TYPE_CHECKING:
    from PIL.Image import Image

    from keras_dlcourse.edge.commands.common import Subparsers

_EXAMPLES = """examples:
  %(prog)s localizer.int8.tflite photo.jpg
  %(prog)s localizer.int8.tflite photo.jpg -o boxes.png
  %(prog)s pose.int8.tflite photos/*.jpg -o drawn/ --json
"""


def add_locate_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Add the `locate` command; its `func` takes the parsed arguments and returns the exit code.

    Args:
        subparsers: Return value of `ArgumentParser.add_subparsers`.
    """
    parser = add_command(
        subparsers,
        "locate",
        locate,
        "locate the object in an image with a .tflite localizer",
        _EXAMPLES,
        " Prints its class, bounding box and keypoints; there is one object in each image.",
    )
    add_images(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="output image with the object drawn in; a folder if there are several images",
    )
    add_model_options(parser)
    add_common_options(parser)
    return parser


@one_sentence
def locate(arguments: argparse.Namespace) -> int:
    """Print the location of each object; unreadable images are reported and skipped."""
    find = _finder(arguments)
    pictures = pictures_of("--output", arguments.output, arguments.images)

    def answer(image: str) -> tuple[dict[str, Any], list[str]]:
        content = Path(image).read_bytes()
        detection = find(content)
        told = {"image": image, **_table(detection)}, [image, *_lines(detection)]

        def draw() -> Image:
            return draw_detection(read_image(content, bits=arguments.bits), detection)

        add_picture(told, "picture", pictures.get(image), draw)
        return told

    return answer_each(arguments, answer)


def _finder(arguments: argparse.Namespace) -> Callable[[bytes], Detection]:
    """Return the function that finds the object: a localizer's if the file has class scores."""
    file, options = ModelFile.read(arguments.model), model_options(arguments)
    if file.metadata.keypoints and file.metadata.outputs[0] in file.metadata.places:
        return KeypointDetector(file, **options).detect
    localizer = ObjectLocalizer(file, **options)
    return lambda image: localizer.locate(image, max_results=1)


def _table(detection: Detection) -> dict[str, Any]:
    """Return a detection as JSON-serializable values with MediaPipe's field names."""
    box = detection.bounding_box
    return {
        "bounding_box": None if box is None else box._asdict(),
        "categories": [category._asdict() for category in detection.categories],
        "keypoints": [point._asdict() for point in detection.keypoints],
    }


def _lines(detection: Detection) -> list[str]:
    lines = category_lines(detection.categories)
    box = detection.bounding_box
    if box is not None:
        lines.append(f"  box: {box.width} x {box.height} pixels at {box.origin_x}, {box.origin_y}")
    for number, point in enumerate(detection.keypoints):
        lines.append(f"  {point.label or f'point {number}'}: {point.x:.3f}, {point.y:.3f}")
    return lines
