"""The `segment` command, shared by `python -m` and `keras-dlcourse`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np

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
)
from keras_dlcourse.edge.description.layouts import ACTIVATIONS
from keras_dlcourse.edge.vision.drawing import category_color, draw_segmentation, is_background
from keras_dlcourse.edge.vision.images import read_image
from keras_dlcourse.edge.vision.segmenter import ImageSegmenter

if TYPE_CHECKING:
    from keras_dlcourse.edge.commands.common import Subparsers
    from keras_dlcourse.edge.results import Segmentation

_EXAMPLES = """examples:
  %(prog)s masks.int8.tflite photo.jpg -o overlay.png
  %(prog)s masks.int8.tflite photos/*.jpg -o drawn/ --masks masks/ --json
  %(prog)s other.tflite photo.jpg --labels labels.txt --mean 127.5 --std 127.5
"""
_LOSSLESS = (".png", ".bmp", ".tif", ".tiff")


def add_segment_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Add the `segment` command; its `func` takes the parsed arguments and returns the exit code.

    Args:
        subparsers: Return value of `ArgumentParser.add_subparsers`.
    """
    parser = add_command(
        subparsers,
        "segment",
        segment,
        "find the class of each pixel with a .tflite segmenter",
        _EXAMPLES,
        " Prints the area of each class in the image, and draws or saves its mask.",
    )
    add_images(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="output image with the classes in color; a folder if there are several images",
    )
    parser.add_argument(
        "--masks",
        metavar="FILE",
        help="output image with the number of the class at each pixel; a folder likewise",
    )
    parser.add_argument(
        "--labels", metavar="FILE", help="text file with one class name per line, instead of the "
        "file's"
    )  # fmt: skip
    parser.add_argument(
        "--activation",
        choices=ACTIVATIONS,
        help="what turns the outputs into confidences, instead of what the file says",
    )
    add_model_options(parser)
    add_common_options(parser)
    return parser


@one_sentence
def segment(arguments: argparse.Namespace) -> int:
    """Print the areas in each image; unreadable images are reported and skipped."""
    labels = None if arguments.labels is None else read_labels(arguments.labels)
    segmenter = ImageSegmenter(
        arguments.model,
        labels=labels,
        activation=arguments.activation,
        output_confidence_masks=False,
        **model_options(arguments),
    )
    pictures = pictures_of("--output", arguments.output, arguments.images)
    masks = pictures_of("--masks", arguments.masks, arguments.images)
    for path in masks.values():
        if path.suffix.lower() not in _LOSSLESS:
            raise ValueError(
                f"--masks must be a file name that ends in one of {', '.join(_LOSSLESS)}, because "
                f"other formats change values. Received: {path}"
            )

    from PIL import Image

    def answer(image: str) -> tuple[dict[str, Any], list[str]]:
        pixels = read_image(image, bits=arguments.bits)
        found = segmenter.segment(pixels)
        told = {"image": image, **_table(found)}, [image, *_lines(found)]
        add_picture(told, "picture", pictures.get(image), lambda: draw_segmentation(pixels, found))
        add_picture(
            told, "mask", masks.get(image),
            lambda: Image.fromarray(np.asarray(found.category_mask)),
        )  # fmt: skip
        return told

    return answer_each(arguments, answer)


def _table(found: Segmentation) -> dict[str, Any]:
    """Return the areas as JSON-serializable values, all classes in their order."""
    return {
        "areas": [
            {"index": index, "label": label, "share": share, "color": _color(found, index)}
            for index, (label, share) in enumerate(found.areas.items())
        ]
    }


def _lines(found: Segmentation) -> list[str]:
    """Return one line per class in the image, the largest first."""
    present = [one for one in _table(found)["areas"] if one["share"] > 0]
    present.sort(key=lambda one: -one["share"])
    return [
        f"  {one['share']:7.2%}  {one['label']}" + (f"  {one['color']}" if one["color"] else "")
        for one in present
    ]


def _color(found: Segmentation, index: int) -> str | None:
    """Return the color of a class in the picture, None if it has none."""
    if is_background(found.labels, index):
        return None
    return "#{:02x}{:02x}{:02x}".format(*category_color(index))
