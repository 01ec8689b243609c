"""`keras-dlcourse verify`."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Any

from keras_dlcourse._files import user_path
from keras_dlcourse.cli.model_input import list_images, list_labeled_images, list_masked_images
from keras_dlcourse.cli.quiet import load_keras
from keras_dlcourse.cli.usage import UsageError, add_command, add_image_options, image_options
from keras_dlcourse.data.listing import class_folders
from keras_dlcourse.edge.commands.common import real_number
from keras_dlcourse.edge.tflite.metadata import EMBEDDING
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.edge.vision.bit_depth import check_bits
from keras_dlcourse.edge.vision.segmenter import name_categories
from keras_dlcourse.export.conversion.model_path import check_model_path

if TYPE_CHECKING:
    from keras_dlcourse.data import Pipeline
    from keras_dlcourse.data.masks.folder import MaskPair

EXAMPLES = """
keras-dlcourse verify runs/photos/model.keras runs/photos/model.int8.tflite photos/
keras-dlcourse verify model.keras model.int8.tflite photos/
keras-dlcourse verify model.keras model.int8.tflite photos/ --min-agreement 0.97
keras-dlcourse verify runs/masks/model.keras runs/masks/model.int8.tflite images/ masks/
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
        help="folder with one folder of images per class, or a table (.csv) of files and labels; "
        "for a segmenter, the folder of the images",
    )
    parser.add_argument(
        "masks",
        metavar="MASKS",
        nargs="?",
        help="for a segmenter: folder of the masks of the images, or COCO annotations (.json), to "
        "measure the IoU of both models; not needed if DIR is a PASCAL VOC data set",
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
        "--max-iou-loss",
        type=real_number,
        metavar="FRACTION",
        help="for segmenters: fail if the file's mean IoU with the masks, from 0 to 1, is lower by "
        "more than this",
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
    pairs = _find_pairs(options, file)
    if pairs is None:
        _check_folder(options, file)

    load_keras("ai_edge_litert", "flatbuffers")
    from keras_dlcourse import export
    from keras_dlcourse.cli.model_input import load_model

    model = load_model(options.model)
    images = _read_images(options, model, file, pairs)
    limit = None if file.metadata.mask is None else _choose_limit(model, images.examples)
    given = {
        "min_agreement": options.min_agreement,
        "max_accuracy_loss": options.max_accuracy_loss,
        "min_cosine": options.min_cosine,
        "min_mask_iou": options.min_mask_iou,
        "max_iou_loss": options.max_iou_loss,
        "min_matched": options.min_matched,
    }
    limits = {name: value for name, value in given.items() if value is not None}
    verification = export.verify(model, options.file, images, limit=limit, limits=limits)
    print(verification)
    if not verification.passed:
        why = "; ".join([*verification.failures, str(verification.cause)])
        raise export.VerificationError(f"{options.file} does not agree with {options.model}: {why}")


def _find_pairs(options: argparse.Namespace, file: ModelFile) -> list[MaskPair] | None:
    """Return the images of a segmenter with their masks; None if there are no masks."""
    from keras_dlcourse.data.masks.folder import is_voc

    if file.metadata.mask is None:
        if options.masks is not None:
            raise UsageError(
                f"MASKS is for segmenters only, and {options.file} does not say that it is one. "
                f"Received: {options.masks}"
            )
        return None
    if options.masks is None and not is_voc(user_path(options.folder)):
        return None
    if options.skip_bad:
        raise UsageError("--skip-bad is not for masks. Repair or remove the files")
    return list_masked_images(options.folder, options.masks, _categories(file))


def _categories(file: ModelFile) -> tuple[str, ...]:
    count = max(2, file.outputs[0].shape[-1])
    return name_categories(file) or tuple(f"class {number}" for number in range(count))


def _takes_any(file: ModelFile) -> bool:
    """Whether any images do: vectors have no classes, masks and boxes have them at each place."""
    metadata = file.metadata
    return EMBEDDING in metadata.outputs or metadata.mask is not None or metadata.is_detector


def _check_folder(options: argparse.Namespace, file: ModelFile) -> None:
    """Raise an error if the folder cannot be one of images for the file."""
    if _takes_any(file):
        list_images(options.folder, "DIR")
    elif file.metadata.labels is not None:
        list_labeled_images(options.folder, file.metadata.labels)
    else:  # the model may name its classes
        class_folders(user_path(options.folder))


def _read_images(
    options: argparse.Namespace, model: Any, file: ModelFile, pairs: list[MaskPair] | None
) -> Pipeline:
    """Return the images to compare on, and say which these are if they have labels."""
    from keras_dlcourse.cli.held_out import choose_held_out
    from keras_dlcourse.cli.model_input import (
        find_labels,
        find_normalization,
        load_calibration_images,
        load_labeled_images,
        load_masked_images,
    )
    from keras_dlcourse.export.checking.roads import file_normalization

    # If the model does not record its normalization, use the one that its file was made for.
    normalization = find_normalization(model) or file_normalization(file)
    reading = image_options(options)
    if pairs is not None:
        found = load_masked_images(model, pairs, _categories(file), normalization, options.bits)
    elif _takes_any(file):
        return load_calibration_images(
            model, options.folder, normalization, argument="DIR", **reading
        )
    else:
        labels = file.metadata.labels or find_labels(model)
        found = load_labeled_images(model, options.folder, labels, normalization, **reading)
    images, line = choose_held_out(found, options.model, options.folder)
    print(line)
    return images


def _choose_limit(model: Any, examples: int) -> int | None:
    """Return how many images are compared, and say so, if the confidences of all are too many."""
    from keras_dlcourse.training.run.tasks.segmentation import COMPARED

    most = max(1, COMPARED // math.prod(model.output_shape[1:]))
    if examples <= most:
        return None
    print(f"compares the first {most:,} of them, whose confidences fit into memory")
    return most
