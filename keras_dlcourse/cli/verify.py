"""`keras-dlcourse verify`."""

from __future__ import annotations

import argparse
from typing import Any

from keras_dlcourse.cli.quiet import load_keras
from keras_dlcourse.cli.usage import add_command, add_image_options, image_options

EXAMPLES = """
keras-dlcourse verify model.keras model.int8.tflite photos/
keras-dlcourse verify model.keras model.int8.tflite photos/ --min-agreement 0.97
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "verify",
        run,
        "compare a .tflite file with its Keras model on the same images, a folder a class",
        EXAMPLES,
    )
    parser.add_argument("model", metavar="MODEL.keras", help="saved Keras model")
    parser.add_argument("file", metavar="FILE", help=".tflite file made of it")
    parser.add_argument("folder", metavar="DIR", help="folder with a folder of images a class")
    add_image_options(parser)
    parser.add_argument(
        "--min-agreement",
        type=float,
        metavar="SHARE",
        help="fail if fewer answers are the same, from 0 to 1",
    )
    parser.add_argument(
        "--max-accuracy-loss",
        type=float,
        metavar="SHARE",
        help="fail if the file's accuracy is lower by more, from 0 to 1",
    )
    parser.add_argument(
        "--min-cosine",
        type=float,
        metavar="COSINE",
        help="for embedders: fail if a vector of the file is further from that of Keras",
    )


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    from keras_dlcourse.edge.metadata import EMBEDDING
    from keras_dlcourse.edge.model_file import ModelFile

    metadata = ModelFile.read(options.file).metadata  # the file is checked before Keras is loaded

    load_keras()
    from keras_dlcourse import export
    from keras_dlcourse.cli.model_input import (
        calibration_images,
        labelled_images,
        load_model,
        recorded_labels,
    )

    model = load_model(options.model)
    if EMBEDDING in metadata.outputs:  # vectors have no classes, so any images will do
        reading = image_options(options)
        images = calibration_images(model, options.folder, argument="DIR", **reading)
    else:
        labels = metadata.labels or recorded_labels(model)
        images = labelled_images(model, options.folder, labels, **image_options(options))
    verification = export.verify(model, options.file, images)
    print(verification)
    verification.require(
        min_agreement=options.min_agreement,
        max_accuracy_loss=options.max_accuracy_loss,
        min_cosine=options.min_cosine,
    )
