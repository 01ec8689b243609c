"""`keras-dlcourse data`."""

from __future__ import annotations

import argparse
from typing import Any

from keras_dlcourse.cli.quiet import load_keras
from keras_dlcourse.cli.usage import (
    add_cache_option,
    add_command,
    add_image_options,
    add_split_options,
    cache_option,
    image_options,
    split_options,
)

EXAMPLES = r"""
keras-dlcourse data photos/
keras-dlcourse data photos/labels.csv --group-by patient
keras-dlcourse data photos/ --image-size 64 --split 70 15 15 --group-by 'patient(\d+)'

The exit code is 1 if files cannot be read, or if identical images are in two parts or have
different labels. Images that only look alike are shown, but may be different objects.
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "data",
        run,
        "show the classes and files of a data set, and images that occur in two of its parts",
        EXAMPLES,
    )
    parser.add_argument(
        "folder",
        metavar="DIR",
        help="folder with one folder of images per class, or a table (.csv) of files and labels",
    )
    parser.add_argument(
        "--image-size",
        type=int,
        default=96,
        metavar="N",
        help="height and width in pixels at which images are compared (default: 96)",
    )
    parser.add_argument(
        "--classes", nargs="+", metavar="NAME", help="classes to use (default: all)"
    )
    add_image_options(parser)
    add_split_options(parser)
    add_cache_option(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    reading = {**image_options(options), **split_options(options), **cache_option(options)}
    reading["skip_bad"] = True
    load_keras()
    from keras_dlcourse.data import read_images, summarize

    data = read_images(
        options.folder, image_size=options.image_size, class_names=options.classes, **reading
    )
    summary = summarize(data)
    print(summary)
    return int(not summary.passed)
