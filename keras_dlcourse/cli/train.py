"""`keras-dlcourse train`."""

from __future__ import annotations

import argparse
from typing import Any

from keras_dlcourse.cli.quiet import load_keras
from keras_dlcourse.cli.usage import add_command

EXAMPLES = """
keras-dlcourse train photos/ --model mobilenet_v2 -o runs/photos
keras-dlcourse train photos/ --model mobilenet --alpha 0.25 --image-size 64 -o runs/small
keras-dlcourse train photos/ --model mobilenet_v2 --skip-bad -o runs/photos

photos/ holds a folder a class:
  photos/cat/1.jpg  photos/cat/2.jpg  photos/dog/1.jpg ...
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "train",
        run,
        "train, export and verify a network on your own photos, a fifth held out",
        EXAMPLES,
    )
    parser.add_argument("folder", metavar="DIR", help="folder with a folder of images a class")
    parser.add_argument(
        "--model", required=True, metavar="NAME", help="one of: keras-dlcourse models"
    )
    parser.add_argument(
        "--alpha", type=float, default=1.0, metavar="A", help="width of the network (default: 1.0)"
    )
    parser.add_argument(
        "--image-size",
        type=int,
        default=96,
        metavar="N",
        help="height and width in pixels that images are resized to (default: 96)",
    )
    parser.add_argument(
        "--epochs", type=int, default=30, metavar="N", help="passes over the images (default: 30)"
    )
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave out files that cannot be read as images"
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="RUN", help="new folder for the run"
    )


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    print("Starting Keras and its backend", flush=True)
    load_keras()
    from keras_dlcourse import data, training
    from keras_dlcourse.training.run_folder import check_free

    check_free(options.output)  # before the images are read
    recipe = training.Recipe(model=options.model, alpha=options.alpha, epochs=options.epochs)
    images = data.image_folder(
        options.folder, image_size=options.image_size, skip_bad=options.skip_bad
    )
    return int(training.run(images, options.output, recipe).interrupted)
