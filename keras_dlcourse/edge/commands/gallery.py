"""The `enroll` and `identify` commands, shared by `python -m` and `keras-dlcourse`."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_dlcourse.edge.commands.common import (
    add_command,
    add_common_options,
    add_images,
    add_model_options,
    answer_each,
    model_options,
    one_sentence,
    print_json,
    whole_number,
)
from keras_dlcourse.edge.search.gallery import Gallery, Match
from keras_dlcourse.edge.search.gallery_file import MATCHES
from keras_dlcourse.edge.search.identification import UNKNOWN, Identity
from keras_dlcourse.edge.vision.embedder import ImageEmbedder

if TYPE_CHECKING:
    from keras_dlcourse.edge.commands.common import Subparsers

_ENROLL_EXAMPLES = """examples:
  %(prog)s embedder.int8.tflite "my mug" mug1.jpg mug2.jpg -g gallery.kdg
  %(prog)s embedder.int8.tflite cat cats/*.jpg -g gallery.kdg --threshold 0.3
"""
_IDENTIFY_EXAMPLES = """examples:
  %(prog)s embedder.int8.tflite photo.jpg -g gallery.kdg
  %(prog)s embedder.int8.tflite photos/*.jpg -g gallery.kdg --threshold 0.25 --top 3 --json
"""


def add_enroll_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Add the `enroll` command; its `func` takes the parsed arguments and returns the exit code.

    Args:
        subparsers: Return value of `ArgumentParser.add_subparsers`.
    """
    does = "add a class to a gallery from a few images, without training"
    parser = add_command(subparsers, "enroll", enroll, does, _ENROLL_EXAMPLES)
    parser.add_argument("model", metavar="MODEL", help="a .tflite embedding model")
    parser.add_argument("label", metavar="LABEL", help="name of the class")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="image files of the class")
    _add_gallery(parser, "gallery file; created if it does not exist")
    parser.add_argument(
        "--threshold",
        type=_distance,
        metavar="D",
        help="largest distance at which an image is identified; saved in the gallery",
    )
    parser.add_argument(
        "--match",
        choices=MATCHES,
        help="compare with every enrolled image or with the mean of each class; saved in the "
        "gallery (default: nearest)",
    )
    _add_embedder_options(parser)
    return parser


def add_identify_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Add the `identify` command; its `func` takes the parsed arguments, returns the exit code.

    Args:
        subparsers: Return value of `ArgumentParser.add_subparsers`.
    """
    does = "identify images with a gallery, without training"
    parser = add_command(subparsers, "identify", identify, does, _IDENTIFY_EXAMPLES)
    add_images(parser, "the .tflite file that made the gallery")
    _add_gallery(parser, "gallery file")
    parser.add_argument(
        "--threshold",
        type=_distance,
        metavar="D",
        help="largest distance at which an image is identified, instead of the gallery's",
    )
    parser.add_argument(
        "--top", type=whole_number, metavar="N", help="also list the N nearest enrolled images"
    )
    _add_embedder_options(parser)
    return parser


@one_sentence
def enroll(arguments: argparse.Namespace) -> int:
    """Add images of a class to the gallery; if one is unreadable, none are added."""
    embedder = _embedder(arguments)
    if Path(arguments.gallery).exists():
        gallery = Gallery.load(arguments.gallery, embedder)
    else:
        gallery = Gallery(embedder)
    if arguments.threshold is not None:
        gallery.threshold = arguments.threshold
    if arguments.match is not None:
        gallery.match = arguments.match
    count = gallery.enroll(arguments.label, arguments.images)
    gallery.save(arguments.gallery)
    if arguments.json:
        counts, threshold = gallery.counts, gallery.threshold
        print_json({"gallery": arguments.gallery, "labels": counts, "threshold": threshold})
    else:
        print(
            f"{arguments.gallery}: {count} images of {arguments.label}, {len(gallery)} images of "
            f"{len(gallery.labels)} classes"
        )
    return 0


@one_sentence
def identify(arguments: argparse.Namespace) -> int:
    """Print the identity of each image; unreadable images are reported and skipped."""
    gallery = Gallery.load(arguments.gallery, _embedder(arguments))
    if arguments.threshold is not None:
        gallery.threshold = arguments.threshold

    def answer(image: str) -> tuple[dict[str, Any], list[str]]:
        identity = gallery.identify(image)
        matches = gallery.search(image, arguments.top) if arguments.top else []
        return _result(image, identity, matches), _lines(image, identity, matches)

    return answer_each(arguments, answer)


def _add_gallery(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("-g", "--gallery", required=True, metavar="FILE", help=text)


def _add_embedder_options(parser: argparse.ArgumentParser) -> None:
    add_model_options(parser)
    parser.add_argument(
        "--l2-normalize", action="store_true", help="divide each embedding by its length"
    )
    add_common_options(parser)


def _embedder(arguments: argparse.Namespace) -> ImageEmbedder:
    return ImageEmbedder(
        arguments.model, l2_normalize=arguments.l2_normalize, **model_options(arguments)
    )


def _lines(image: str, identity: Identity, matches: list[Match]) -> list[str]:
    named = identity.label
    if identity.label == UNKNOWN:
        named += f", nearest is {identity.nearest}"
    lines = [f"{image}: {named} ({identity.distance:.4f})"]
    return lines + [f"  {match.distance:.4f}  {match.label}" for match in matches]


def _result(image: str, identity: Identity, matches: list[Match]) -> dict[str, Any]:
    result = {
        "image": image,
        "label": identity.label,
        "distance": identity.distance,
        "nearest": identity.nearest,
    }
    if matches:
        result["matches"] = [
            {"label": match.label, "distance": match.distance} for match in matches
        ]
    return result


def _distance(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise argparse.ArgumentTypeError(f"must be a distance. Received: {text!r}")
    return number
