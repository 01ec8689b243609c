"""`keras-dlcourse train`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from keras_dlcourse._checks import check_integer, check_number, check_one_of
from keras_dlcourse._files import check_free, user_path
from keras_dlcourse.cli.quiet import load_keras
from keras_dlcourse.cli.usage import add_command, add_image_options, image_options
from keras_dlcourse.data.folder import check_counts, find_examples
from keras_dlcourse.edge.vision.bit_depth import check_bits
from keras_dlcourse.models.costs import check_network

EXAMPLES = """
keras-dlcourse train photos/ --model mobilenet_v2 -o runs/photos
keras-dlcourse train photos/ --model mobilenet --alpha 0.25 --image-size 64 -o runs/small
keras-dlcourse train photos/ --model mobilenet_v2 --skip-bad -o runs/photos
keras-dlcourse train scans/ --classes healthy ill --bits 12 --model mobilenet_v2 -o runs/scans
keras-dlcourse train photos/ -o runs/photos --resume

photos/ has one folder per class:
  photos/cat/1.jpg  photos/cat/2.jpg  photos/dog/1.jpg ...
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
    parser.add_argument("folder", metavar="DIR", help="folder with one folder of images per class")
    parser.add_argument("--task", metavar="NAME", help="what to train (default: classify)")
    parser.add_argument(
        "--model", metavar="NETWORK", help="name of a network listed by: keras-dlcourse models"
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
    check_early(options)
    load_keras("ai_edge_litert", "flatbuffers", "matplotlib", "sklearn", "scipy", "rich")
    from keras_dlcourse import training
    from keras_dlcourse.training.run.run import input_shape_of, recipe_of
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
    else:
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
    )
    return int(not training.run(data, options.output, recipe, resume=options.resume).passed)


def check_early(options: argparse.Namespace) -> None:
    """Raise an error for what can be known to be wrong before Keras, which takes long, is started.

    Recipe, task and data are checked again, and completely, when they are made.
    """
    check_bits(options.bits)
    for name in ("image_size", "epochs"):
        if getattr(options, name) is not None:
            check_integer(f"--{name.replace('_', '-')}", getattr(options, name))
    if options.alpha is not None:
        check_number("--alpha", options.alpha, above=0)
    if options.resume:
        task = _task_of_run(user_path(options.output))
    else:
        task = check_one_of("--task", options.task or "classify", tuple(CHECKS))
        if options.model is None:
            raise ValueError("--model NETWORK is required; keras-dlcourse models lists the names")
        check_free("--output", options.output)
        if user_path(options.folder).resolve() in user_path(options.output).resolve().parents:
            raise ValueError(
                "RUN must be outside of DIR, where its folders would be taken for classes. "
                f"Received: {options.output} in {options.folder}. Pass another folder to -o"
            )
    CHECKS[task](options)


def _task_of_run(folder: Path) -> str:
    """Return the task of a run to resume."""
    config = folder / "config.json"
    if not config.is_file():
        raise FileNotFoundError(
            f"--output must be the folder of a run to resume. Received: {folder}, without "
            f"{config.name}. Omit --resume to start a run."
        )
    # Runs of earlier versions do not record their task.
    return str(json.loads(config.read_text(encoding="utf-8")).get("task", "classify"))


def _check_classes(options: argparse.Namespace) -> None:
    """Check the network and the folder of a classifier."""
    if options.model is not None:
        check_network(options.model)
    folder = user_path(options.folder)
    names, files, labels, parts = find_examples(folder, options.classes)
    check_counts(folder, names, labels, parts)
    print(f"{folder}: {len(files):,} files of {len(names)} classes", flush=True)


# For each task that is trained from a folder, the checks of its network and its folder. Their names
# are those of `training.run.tasks`, which takes Keras to import.
CHECKS: dict[str, Callable[[argparse.Namespace], None]] = {"classify": _check_classes}
