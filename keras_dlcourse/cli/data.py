"""`keras-dlcourse data`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from keras_dlcourse._checks import check_integer
from keras_dlcourse._files import user_path
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
from keras_dlcourse.data.image_cache import check_cache
from keras_dlcourse.data.image_files import choose_image_size
from keras_dlcourse.data.reading import check_counts, find_groups
from keras_dlcourse.data.table import find_any_images
from keras_dlcourse.edge.vision.bit_depth import check_bits

if TYPE_CHECKING:
    from keras_dlcourse.data.reading import FoundImages

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
        metavar="N",
        help="height and width in pixels at which images are compared (default: as for train: 96, "
        "or the size of the images if they are smaller)",
    )
    parser.add_argument(
        "--classes", nargs="+", metavar="NAME", help="classes to use (default: all)"
    )
    add_image_options(parser)
    add_split_options(parser)
    add_cache_option(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    check_reading(options)
    found = find_images(options)
    reading = {**image_options(options), **split_options(options), **cache_option(options)}
    reading["skip_bad"] = True
    reading["image_size"] = options.image_size or choose_image_size(found.paths)
    load_keras()
    from keras_dlcourse.data import read_images, summarize

    data = read_images(options.folder, class_names=options.classes, **reading)
    summary = summarize(data)
    print(summary)
    return int(not summary.passed)


def check_reading(options: argparse.Namespace) -> None:
    """Raise an error if an option about how images are read is wrong, before Keras is started."""
    check_bits(options.bits)
    if options.image_size is not None:
        check_integer("--image-size", options.image_size)
    split_options(options)
    if cache := cache_option(options).get("cache"):
        check_cache(cache, user_path(options.folder))


def find_images(options: argparse.Namespace) -> FoundImages:
    """Return the files of a folder or table of classes; raise an error if it has too few."""
    found = find_any_images(user_path(options.folder), options.classes)
    if options.group_by is not None:
        find_groups(found, options.group_by)
    check_counts(found, by_example=options.group_by is None)
    return found
