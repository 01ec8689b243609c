"""`keras-dlcourse explain`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_dlcourse._extras import require
from keras_dlcourse._files import check_writable, user_path
from keras_dlcourse.cli.quiet import load_keras
from keras_dlcourse.cli.usage import UsageError, add_command, add_image_options, image_options
from keras_dlcourse.data.image_files import ImageFiles
from keras_dlcourse.data.listing import display_name, files_below
from keras_dlcourse.data.reading import read_files
from keras_dlcourse.export.conversion.model_path import check_model_path

EXAMPLES = """
keras-dlcourse explain model.keras photos/ -o maps/
keras-dlcourse explain model.keras photos/ --methods cam,grad_cam,augmented_grad_cam -o maps/
keras-dlcourse explain model.keras photos/ --methods layer_cam --layer conv_pw_11_relu --class cat
"""
ROWS = 8  # images per picture
PICTURE = "maps_{:03d}.png"
# The names of kd.explain.METHODS, which takes Keras to import.
METHODS = (
    "cam",
    "grad_cam",
    "grad_cam_pp",
    "layer_cam",
    "hires_cam",
    "eigen_cam",
    "score_cam",
    "augmented_grad_cam",
    "saliency",
    "smooth_grad",
    "integrated_gradients",
    "guided_backprop",
    "occlusion",
)


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands, "explain", run, "draw what a Keras model looks at in images", EXAMPLES
    )
    parser.add_argument("model", metavar="MODEL.keras", help="saved Keras model")
    parser.add_argument(
        "images", metavar="IMAGE", nargs="+", help="image files, or folders of them"
    )
    parser.add_argument(
        "--methods",
        default="grad_cam",
        metavar="M,M,...",
        help="methods for the maps, separated by commas (default: grad_cam); see "
        "kd.explain.METHODS",
    )
    parser.add_argument(
        "--class",
        dest="class_name",
        metavar="C",
        help="name or index of the class to show evidence for (default: the predicted class)",
    )
    parser.add_argument(
        "--layer",
        metavar="NAME",
        help="layer whose feature maps to use (default: the last of the coarsest)",
    )
    add_image_options(parser)
    parser.add_argument(
        "-o",
        "--output",
        default="maps",
        metavar="DIR",
        help="folder for the pictures (default: maps)",
    )


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    methods = _methods(options.methods, options.layer)
    check_model_path(options.model)
    require("This command", "tensorflow", "keras", "matplotlib", "rich")
    paths = _readable_paths(_image_paths(options.images), **image_options(options))
    output = user_path(options.output)
    check_writable("--output", output / PICTURE.format(1))

    load_keras()
    from keras_dlcourse import data
    from keras_dlcourse.cli.model_input import (
        find_labels,
        find_normalization,
        load_images,
        load_model,
    )

    model = load_model(options.model)
    labels = find_labels(model)
    asked = _class_number(options.class_name, labels)
    pixels, _ = load_images(model, paths, bits=options.bits)
    names = [display_name(path) for path in paths]
    normalization = find_normalization(model) or data.Normalization.identity()
    extra = {} if options.layer is None else {"layer": options.layer}
    for number, start in enumerate(range(0, len(names), ROWS), 1):
        batch = pixels[start : start + ROWS]
        path = output / PICTURE.format(number)
        captions = names[start : start + ROWS]
        _draw(path, model, batch, normalization(batch), methods, asked, extra, captions, labels)
        print(path)


def _draw(
    path: Path,
    model: Any,
    pixels: Any,
    inputs: Any,
    methods: list[str],
    asked: int | None,
    extra: dict[str, Any],
    names: list[str],
    labels: Sequence[str] | None,
) -> None:
    """Write one picture: one row per image, one column per method."""
    from keras_dlcourse._files import write_bytes
    from keras_dlcourse.explain.methods import function_of, mapper_for
    from keras_dlcourse.report.canvas import png_bytes
    from keras_dlcourse.report.method_maps import draw_methods

    mapper = mapper_for(model, "saliency")  # any method: only its scores are used
    scores = mapper.probabilities(mapper.scores(inputs))
    shown = scores.argmax(1) if asked is None else [asked] * len(scores)
    if asked is not None and asked >= mapper.classes:
        raise ValueError(f"--class must be one of the model's classes 0 to {mapper.classes - 1}")
    maps = {name: function_of(name)(model, inputs, shown, **extra) for name in methods}
    captions = [
        f"{name}: {labels[number] if labels else f'class {number}'} {row[number]:.0%}"
        for name, number, row in zip(names, shown, scores, strict=True)
    ]
    write_bytes(path, png_bytes(draw_methods(pixels, maps, captions)))


def _methods(words: str, layer: str | None) -> list[str]:
    names = [name.strip().replace("-", "_") for name in words.split(",")]
    for name in names:
        if name not in METHODS:
            raise UsageError(f"--methods must be some of {', '.join(METHODS)}. Received: {name!r}")
        if layer is not None and (not name.endswith(("_cam", "_pp"))):
            raise UsageError(f"--layer does not apply to the method {name}. Omit one of them")
    return names


def _class_number(given: str | None, labels: Sequence[str] | None) -> int | None:
    if given is None or given.isdigit():
        return None if given is None else int(given)
    if labels is None or given not in labels:
        known = ", ".join(labels) if labels else "not recorded in the model. Give an index"
        raise ValueError(
            f"--class must be a class of the model. Received: {given!r}. Class names: {known}"
        )
    return list(labels).index(given)


def _image_paths(given: list[str]) -> list[Path]:
    paths: list[Path] = []
    for name in given:
        path = user_path(name)
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file or folder")
        paths += files_below(path, set()) if path.is_dir() else [path]
    if not paths:
        raise ValueError(f"{', '.join(given)}: no files in it")
    return paths


def _readable_paths(paths: list[Path], skip_bad: bool, bits: int | None) -> list[Path]:
    """Return the files that can be read as images: all, or with `skip_bad` only the good ones."""
    _, good, _ = read_files(ImageFiles(paths, (1, 1), bits=bits), skip_bad)
    return [paths[index] for index in good]
