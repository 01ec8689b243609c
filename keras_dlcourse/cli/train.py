"""`keras-dlcourse train`."""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from keras_dlcourse._checks import check_integer, check_number, check_one_of
from keras_dlcourse._files import check_free, user_path
from keras_dlcourse.cli.data import check_reading, find_images
from keras_dlcourse.cli.quiet import load_keras
from keras_dlcourse.cli.usage import (
    UsageError,
    add_cache_option,
    add_command,
    add_image_options,
    add_split_options,
    cache_option,
    image_options,
    parse_time,
    split_options,
)
from keras_dlcourse.data.image_files import choose_image_size
from keras_dlcourse.data.listing import display_name
from keras_dlcourse.models.costs import check_network

PRETRAINED_SIZE = 128  # pixels; networks with trained weights have seen 224
ALPHA = 0.35  # of the default network: small data sets do not need more, and a CPU has time for it
LEVELS = ("none", "light", "strong")
# The names of a recipe, which takes Keras to import.
SETTINGS = (
    "model",
    "alpha",
    "weights",
    "epochs",
    "batch_size",
    "learning_rate",
    "warmup",
    "weight_decay",
    "dropout",
    "label_smoothing",
    "augment",
    "flip",
    "patience",
    "time",
    "seed",
    "task",
)

EXAMPLES = """
keras-dlcourse train photos/
keras-dlcourse train photos/ --time 10m
keras-dlcourse train photos/ --model mobilenet --alpha 0.25 --image-size 64 -o runs/small
keras-dlcourse train photos/ --weights imagenet --alpha 1.0 -o runs/photos
keras-dlcourse train photos/labels.csv --skip-bad -o runs/photos
keras-dlcourse train scans/ --classes healthy ill --bits 12 -o runs/scans
keras-dlcourse train photos/ --split 70 15 15 --group-by 'patient(\\d+)' -o runs/photos
keras-dlcourse train --task segment images/ masks/ --classes ground house -o runs/masks
keras-dlcourse train photos/ -o runs/photos --resume

photos/ has one folder per class:
  photos/cat/1.jpg  photos/cat/2.jpg  photos/dog/1.jpg ...
photos/labels.csv has the columns file, label and, if you like, split (train, val, test)
several labels of one image are separated by | or ;
masks/ has a mask for each image: images/1.jpg and masks/1.png, whose pixels are 0 for ground,
1 for house and 255 where there is no label; or it is a .json file of COCO annotations
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
        help="folder with one folder of images per class, or a table (.csv) of files and labels; "
        "for --task segment, the folder of the images",
    )
    parser.add_argument(
        "masks",
        metavar="MASKS",
        nargs="?",
        help="folder of the masks of the images, or COCO annotations (.json); for --task segment "
        "only, which needs no MASKS if DIR is a PASCAL VOC data set",
    )
    parser.add_argument(
        "--task",
        metavar="NAME",
        help="what to train: classify, multilabel for several labels per image, or segment for the "
        "class of each pixel (default: classify or multilabel, what fits the labels)",
    )
    network = parser.add_argument_group("network")
    network.add_argument(
        "--model",
        metavar="NETWORK",
        help="name of a network listed by: keras-dlcourse models (default: mobilenet_v2)",
    )
    network.add_argument(
        "--alpha",
        type=float,
        metavar="A",
        help="width multiplier of the network (default: 1.0; 0.35 if no --model is given)",
    )
    network.add_argument(
        "--weights",
        metavar="WEIGHTS",
        help="weights to start from: none, imagenet (downloaded if needed), or the path of a "
        ".keras file whose network is then used (default: those found on this machine, if the "
        "images are large enough)",
    )
    network.add_argument(
        "--image-size",
        type=int,
        metavar="N",
        help="height and width in pixels to which images are resized (default: 96, or the size of "
        "the images if they are smaller; at least 128 with --weights)",
    )
    recipe = parser.add_argument_group("training (what is not given is chosen from the images)")
    recipe.add_argument("--epochs", type=int, metavar="N", help="passes over the images")
    recipe.add_argument(
        "--time",
        metavar="T",
        help="train as long as fits into this time, e.g. 90s, 10m or 2h for the whole run",
    )
    recipe.add_argument("--batch-size", type=int, metavar="N", help="images per step")
    recipe.add_argument("--learning-rate", type=float, metavar="R", help="highest learning rate")
    recipe.add_argument("--augment", choices=LEVELS, help="random changes of training images")
    recipe.add_argument(
        "--flip",
        action=argparse.BooleanOptionalAction,
        help="mirror half of the training images, which changes e.g. digits (default: if that "
        "does not change what images show)",
    )
    recipe.add_argument(
        "--devices",
        choices=["all"],
        help="all: train on all GPUs, which share each batch (default: on one)",
    )
    recipe.add_argument("--seed", type=int, metavar="N", help="seed of all chance (default: 0)")
    recipe.add_argument(
        "--config",
        metavar="FILE",
        help="config.json of a run, or a .yaml file with the same names, to repeat its recipe; "
        "options override it",
    )
    images = parser.add_argument_group("images")
    images.add_argument(
        "--classes",
        nargs="+",
        metavar="NAME",
        help="folders in DIR to use as classes; others are ignored (default: all, unless they "
        "look like parts of a data set). For --task segment, the names of the values 0, 1, ... in "
        "masks, or the categories of COCO annotations to use",
    )
    add_image_options(images)
    add_split_options(images)
    add_cache_option(images)
    parser.add_argument(
        "-o",
        "--output",
        metavar="RUN",
        help="new folder for the run (default: the first unused one of runs/DIR, runs/DIR-2, ...)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="resume the run in that folder after it was killed or interrupted",
    )


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    early = check_early(options)
    load_keras("ai_edge_litert", "flatbuffers", "matplotlib", "sklearn", "scipy", "rich")
    from keras_dlcourse import training
    from keras_dlcourse.training.run.run import input_shape_of, recipe_of
    from keras_dlcourse.training.run.tasks import find_task

    given = {
        name: getattr(options, name)
        for name in training.Recipe.__dataclass_fields__
        if getattr(options, name, None) is not None
    }
    size = options.image_size
    if options.resume:
        output = options.output
        recipe = recipe_of(output)
        recipe_of(output, replace(recipe, **given))  # options that are given must match the run
        size = size or input_shape_of(output)[:2]
    else:
        output = options.output or training.first_free(Path("runs") / early.name)
        recipe = training.Recipe(**{**early.config, **given})
    task = find_task(recipe.task)
    if task.read is None:
        raise ValueError(
            f"task must be one that is trained from a folder. Received: {task.name!r}. In Python, "
            "kd.training.run trains it"
        )
    data = task.read(
        options.folder,
        image_size=size or early.image_size,
        class_names=options.classes,
        **image_options(options),
        **split_options(options),
        **cache_option(options),
        **early.more,
    )
    done = training.run(data, output, recipe, resume=options.resume, devices=options.devices)
    return int(not done.passed)


@dataclass(frozen=True)
class Early:
    """What is known before Keras is started.

    Attributes:
        name: Name of the data.
        image_size: The size of images that fits the files.
        config: The settings of a recipe from `--config`, and those of the command.
        more: Further arguments of the task's `read`.
    """

    name: str
    image_size: int
    config: Mapping[str, Any]
    more: Mapping[str, Any] = field(default_factory=dict)


def check_early(options: argparse.Namespace) -> Early:
    """Raise an error for what can be known to be wrong before Keras, which takes long, is started.

    Recipe, task and data are checked again, and completely, when they are made.
    """
    check_reading(options)
    for name in ("epochs", "batch_size"):
        if getattr(options, name) is not None:
            check_integer(f"--{name.replace('_', '-')}", getattr(options, name))
    for name in ("alpha", "learning_rate"):
        if getattr(options, name) is not None:
            check_number(f"--{name.replace('_', '-')}", getattr(options, name), above=0)
    if options.time is not None:
        options.time = parse_time(options.time)
    config: Mapping[str, Any] = {}
    if options.resume:
        if options.output is None:
            raise UsageError("--resume needs the folder of the run, -o RUN")
        task = _task_of_run(user_path(options.output))
    else:
        config = {} if options.config is None else read_config(options.config)
        if not config and options.model is None:
            config = {"alpha": ALPHA}
        task = check_one_of("--task", options.task or config.get("task", "classify"), tuple(CHECKS))
        _check_output(options)
    return CHECKS[task](options, config)


def _check_output(options: argparse.Namespace) -> None:
    """Raise an error if the folder for the run cannot be used."""
    if options.output is None:
        return
    check_free("--output", options.output)
    parents = user_path(options.output).resolve().parents
    for name, place in (("DIR", options.folder), ("MASKS", options.masks)):
        if place is not None and user_path(place).resolve() in parents:
            raise ValueError(
                f"RUN must be outside of {name}, where its files would be taken for data. "
                f"Received: {options.output} in {place}. Pass another folder to -o"
            )


def read_config(path: str) -> dict[str, Any]:
    """Return the settings of a recipe in a `.json` or `.yaml` file.

    Args:
        path: The `config.json` of a run, or a file with some of its names. What it says about data
            and machine is ignored.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If it is YAML, and PyYAML is not installed.
        ValueError: If it is not such a file, or has a name that `config.json` does not have.
    """
    from keras_dlcourse.report.facts import BESIDE_RECIPE  # imports Matplotlib

    place = user_path(path)
    text = place.read_text(encoding="utf-8")
    read: Callable[[str], Any] = json.loads
    if place.suffix.lower() in (".yaml", ".yml"):
        try:
            read = importlib.import_module("yaml").safe_load
        except ImportError:
            raise ImportError(
                f"{place} is YAML, which takes PyYAML: pip install pyyaml. Or pass a .json file"
            ) from None
    try:
        content = read(text)
    except Exception as error:  # PyYAML has its own
        raise ValueError(f"{place} must have names with values: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{place} must have names with values, such as epochs: 20")
    if unknown := sorted(set(content) - set(SETTINGS) - BESIDE_RECIPE):
        raise ValueError(
            f"{place} must have names of settings: {', '.join(SETTINGS)}. Received: "
            f"{', '.join(unknown)}"
        )
    return {name: content[name] for name in SETTINGS if name in content}


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


def _check_classes(options: argparse.Namespace, config: Mapping[str, Any]) -> Early:
    """Check the network and the images of a classifier, also of one for several labels an image.

    If no task was asked for, it is the one that fits the labels.
    """
    if options.masks is not None:
        raise UsageError(f"MASKS is for --task segment only. Received: {options.masks}")
    if options.model is not None:
        check_network(options.model)
    folder = user_path(options.folder)
    found = find_images(options)
    several = found.labels.ndim == 2
    asked = options.task or config.get("task")
    if several and asked == "classify":
        raise ValueError(
            f"--task must be multilabel for {folder}, where images may have several labels. "
            f"Received: {asked}"
        )
    size = options.image_size or choose_image_size(found.paths)
    weights = options.weights or config.get("weights", "auto")
    if weights not in ("auto", "none", "imagenet") and not user_path(weights).is_file():
        raise FileNotFoundError(
            "--weights must be none, imagenet or the path of a .keras file. Received: "
            f"{weights}, which does not exist"
        )
    if options.image_size is None and weights not in ("auto", "none"):
        size = max(size, PRETRAINED_SIZE)
    noun = "labels" if several else "classes"
    print(
        f"{folder}: {len(found.paths):,} files of {len(found.class_names)} {noun}, resized to "
        f"{size}x{size} pixels",
        flush=True,
    )
    if several and asked is None and not options.resume:
        print("task=multilabel: images may have several labels", flush=True)
        config = {**config, "task": "multilabel"}
    return Early(found.name, size, config)


def _check_masks(options: argparse.Namespace, config: Mapping[str, Any]) -> Early:
    """Check the network, the images and their masks, each of which must have its partner."""
    from keras_dlcourse.data.masks.folder import find_pairs

    if options.skip_bad:
        raise UsageError("--skip-bad is not for --task segment. Repair or remove the files")
    cache = cache_option(options)
    if cache.get("cache") is not None and not isinstance(cache["cache"], bool):
        raise UsageError(
            f"--cache must be auto or none for --task segment. Received: {options.cache}"
        )
    weights = options.weights or config.get("weights", "auto")
    if weights not in ("auto", "none"):
        raise ValueError(
            "--weights must be none for --task segment, whose networks start from random weights. "
            f"Received: {weights}"
        )
    if options.model is not None:
        check_network(options.model)
    folder = user_path(options.folder)
    masks = None if options.masks is None else user_path(options.masks)
    names, pairs = find_pairs(folder, masks, options.classes)
    size = options.image_size or choose_image_size([pair.image for pair in pairs])
    print(
        f"{folder}: {len(pairs):,} images with masks of {len(names)} classes, resized to "
        f"{size}x{size} pixels",
        flush=True,
    )
    name = display_name(folder.resolve())
    return Early(name, size, config, {} if masks is None else {"masks": masks})


# For each task that is trained from a folder, the checks of its network and its folder. Their names
# are those of `training.run.tasks`, which takes Keras to import.
CHECKS: dict[str, Callable[[argparse.Namespace, Mapping[str, Any]], Early]] = {
    "classify": _check_classes,
    "multilabel": _check_classes,
    "segment": _check_masks,
}
