"""`keras-dlcourse train`."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from keras_dlcourse.cli.quiet import load_keras
from keras_dlcourse.cli.usage import (
    add_command,
    add_image_options,
    add_split_options,
    image_options,
    split_options,
)

EXAMPLES = """
keras-dlcourse train photos/ --model mobilenet_v2 -o runs/photos
keras-dlcourse train photos/ --model mobilenet --alpha 0.25 --image-size 64 -o runs/small
keras-dlcourse train photos/ --model mobilenet_v2 --skip-bad -o runs/photos
keras-dlcourse train scans/ --classes healthy ill --bits 12 --model mobilenet_v2 -o runs/scans
keras-dlcourse train photos/labels.csv --model mobilenet_v2 -o runs/photos
keras-dlcourse train photos/ --split 70 15 15 --group-by 'patient(\\d+)' --model mobilenet_v2 -o r
keras-dlcourse train photos/ -o runs/photos --resume

photos/ has one folder per class:
  photos/cat/1.jpg  photos/cat/2.jpg  photos/dog/1.jpg ...
photos/labels.csv has the columns file, label and, if you like, split (train, val, test)
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "train",
        run,
        "train, export and verify a network on your own photos, with a fifth of them held out",
        EXAMPLES,
    )
    parser.add_argument(
        "folder",
        metavar="DIR",
        help="folder with one folder of images per class, or a table (.csv) of files and labels",
    )
    # The names are checked later: to know them, Keras would have to be imported.
    parser.add_argument("--task", metavar="NAME", help="what to train (default: classify)")
    parser.add_argument(
        "--model", metavar="NAME", help="name of a network listed by: keras-dlcourse models"
    )
    parser.add_argument(
        "--alpha", type=float, metavar="A", help="width multiplier of the network (default: 1.0)"
    )
    parser.add_argument(
        "--image-size",
        type=int,
        metavar="N",
        help="height and width in pixels to which images are resized (default: 96)",
    )
    parser.add_argument(
        "--epochs", type=int, metavar="N", help="passes over the images (default: 30)"
    )
    parser.add_argument(
        "--classes",
        nargs="+",
        metavar="NAME",
        help="folders in DIR to use as classes; others are ignored (default: all, unless they "
        "look like parts of a data set)",
    )
    add_image_options(parser)
    add_split_options(parser)
    parser.add_argument(
        "-o", "--output", required=True, metavar="RUN", help="new folder for the run"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="resume the run in that folder after it was killed or interrupted",
    )


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    print("Starting Keras and its backend", flush=True)
    load_keras()
    from keras_dlcourse import training
    from keras_dlcourse.training.run.run import input_shape_of, recipe_of
    from keras_dlcourse.training.run.run_folder import check_free
    from keras_dlcourse.training.run.tasks import find_task

    given = {
        name: getattr(options, name)
        for name in ("task", "model", "alpha", "epochs")
        if getattr(options, name) is not None
    }
    size = options.image_size
    if options.resume:
        recipe = recipe_of(options.output)
        recipe_of(
            options.output, replace(recipe, **given)
        )  # options that are given must match the run
        size = size or input_shape_of(options.output)[:2]
    elif "model" not in given:
        raise ValueError("--model NAME is required; keras-dlcourse models lists the names")
    else:
        check_free(options.output)  # before the images are read
        recipe = training.Recipe(**given)
    task = find_task(recipe.task)
    if task.read is None:
        raise ValueError(
            f"task must be one that is trained from a folder. Received: {task.name!r}. In Python, "
            "kd.training.run trains it"
        )
    data = task.read(
        options.folder,
        image_size=size or 96,
        class_names=options.classes,
        **image_options(options),
        **split_options(options),
    )
    return int(not training.run(data, options.output, recipe, resume=options.resume).passed)
