"""`keras-dlcourse verify`."""

from __future__ import annotations

import argparse
from typing import Any

from keras_dlcourse._files import user_path
from keras_dlcourse.cli.model_input import list_images, list_labeled_images
from keras_dlcourse.cli.quiet import load_keras
from keras_dlcourse.cli.usage import add_command, add_image_options, image_options
from keras_dlcourse.data.listing import class_folders
from keras_dlcourse.edge.commands.common import real_number
from keras_dlcourse.edge.tflite.metadata import EMBEDDING
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.edge.vision.bit_depth import check_bits
from keras_dlcourse.export.conversion.model_path import check_model_path

EXAMPLES = """
keras-dlcourse verify runs/photos/model.keras runs/photos/model.int8.tflite photos/
keras-dlcourse verify model.keras model.int8.tflite photos/
keras-dlcourse verify model.keras model.int8.tflite photos/ --min-agreement 0.97
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "verify",
        run,
        "compare a .tflite file with its Keras model on images; exit code 1 if they do not agree",
        EXAMPLES,
    )
    parser.add_argument("model", metavar="MODEL.keras", help="saved Keras model")
    parser.add_argument("file", metavar="FILE", help=".tflite file made from it")
    parser.add_argument(
        "folder",
        metavar="DIR",
        help="folder with one folder of images per class, or a table (.csv) of files and labels",
    )
    add_image_options(parser)
    parser.add_argument(
        "--min-agreement",
        type=real_number,
        metavar="FRACTION",
        help="fail if the fraction of equal answers, from 0 to 1, is lower",
    )
    parser.add_argument(
        "--max-accuracy-loss",
        type=real_number,
        metavar="FRACTION",
        help="fail if the file's accuracy, from 0 to 1, is lower by more than this",
    )
    parser.add_argument(
        "--min-cosine",
        type=real_number,
        metavar="COSINE",
        help="for embedders: fail if the cosine between two vectors of file and Keras is lower",
    )
    parser.add_argument(
        "--min-mask-iou",
        type=real_number,
        metavar="FRACTION",
        help="for segmenters: fail if the IoU of the masks of file and Keras, mean over classes, "
        "is lower",
    )
    parser.add_argument(
        "--min-matched",
        type=real_number,
        metavar="FRACTION",
        help="for detectors: fail if the fraction of boxes that both file and Keras find is lower",
    )


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    check_bits(options.bits)
    check_model_path(options.model)
    file = ModelFile.read(options.file)
    # Vectors have no classes, and masks and boxes have them at each position, so any images work.
    metadata = file.metadata
    takes_any = EMBEDDING in metadata.outputs or metadata.mask is not None or metadata.is_detector
    if takes_any:
        list_images(options.folder, "DIR")
    elif file.metadata.labels is not None:
        list_labeled_images(options.folder, file.metadata.labels)
    else:  # the model may name its classes
        class_folders(user_path(options.folder))

    load_keras("ai_edge_litert", "flatbuffers")
    from keras_dlcourse import export
    from keras_dlcourse.cli.held_out import choose_held_out
    from keras_dlcourse.cli.model_input import (
        find_labels,
        find_normalization,
        load_calibration_images,
        load_labeled_images,
        load_model,
    )
    from keras_dlcourse.export.checking.roads import file_normalization

    model = load_model(options.model)
    # If the model does not record its normalization, use the one that its file was made for.
    normalization = find_normalization(model) or file_normalization(file)
    reading = image_options(options)
    if takes_any:
        images = load_calibration_images(
            model, options.folder, normalization, argument="DIR", **reading
        )
    else:
        labels = file.metadata.labels or find_labels(model)
        found = load_labeled_images(model, options.folder, labels, normalization, **reading)
        images, line = choose_held_out(found, options.model, options.folder)
        print(line)
    given = {
        "min_agreement": options.min_agreement,
        "max_accuracy_loss": options.max_accuracy_loss,
        "min_cosine": options.min_cosine,
        "min_mask_iou": options.min_mask_iou,
        "min_matched": options.min_matched,
    }
    limits = {name: value for name, value in given.items() if value is not None}
    verification = export.verify(model, options.file, images, limits=limits)
    print(verification)
    if not verification.passed:
        why = "; ".join([*verification.failures, str(verification.cause)])
        raise export.VerificationError(f"{options.file} does not agree with {options.model}: {why}")
