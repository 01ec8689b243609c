"""`keras-dlcourse export`."""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from keras_dlcourse._extras import require
from keras_dlcourse._files import check_free, check_writable
from keras_dlcourse.cli.model_input import list_images
from keras_dlcourse.cli.quiet import load_keras
from keras_dlcourse.cli.usage import UsageError, add_command, add_image_options, image_options
from keras_dlcourse.edge.commands.common import real_number
from keras_dlcourse.edge.description.normalization import Normalization
from keras_dlcourse.edge.vision.bit_depth import check_bits
from keras_dlcourse.export.conversion.model_path import check_model_path
from keras_dlcourse.export.conversion.schemes import MINIMUM

QUANTIZATIONS = ("float32", "float16", "dynamic", "int8", "int16x8")
CALIBRATED = ("int8", "int16x8")
EXAMPLES = """
keras-dlcourse export model.keras -o model.tflite
keras-dlcourse export model.keras -o model.int8.tflite --quantization int8 --calibration photos/
keras-dlcourse export model.keras -o model.tflite --labels labels.txt
keras-dlcourse export divided_by_255.keras -o model.tflite --mean 0 --std 255
keras-dlcourse export model.keras -o mapped.tflite --class-map
keras-dlcourse export model.keras -o firmware/ --target microcontroller --calibration photos/
keras-dlcourse export saved_model/ -o model.int8.tflite --quantization int8 --mean 127.5 --std 127.5
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "export",
        run,
        "write a Keras model as a self-describing .tflite file",
        EXAMPLES,
    )
    parser.add_argument(
        "model", metavar="MODEL", help=".keras file, or SavedModel folder, e.g. from Keras 2"
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FILE",
        help=".tflite file to write, or for microcontrollers a new folder",
    )
    parser.add_argument(
        "--quantization",
        choices=QUANTIZATIONS,
        metavar="K",
        help=f"quantization scheme: {', '.join(QUANTIZATIONS)} (default: float32; int8 for "
        "microcontrollers and for quantization-aware models)",
    )
    parser.add_argument(
        "--target",
        choices=["file", "microcontroller"],
        default="file",
        help="what to write: a .tflite file (default), or a folder of C++ sources for TensorFlow "
        "Lite Micro, with the measured memory size",
    )
    parser.add_argument(
        "--calibration",
        metavar="DIR",
        help=f"folder of training images, at least 100; needed for {' and '.join(CALIBRATED)} "
        "unless the model is quantization-aware",
    )
    add_image_options(parser)
    parser.add_argument(
        "--labels",
        metavar="FILE",
        help="text file with one class name per line (default: the names recorded in the model)",
    )
    parser.add_argument(
        "--class-map",
        action="store_true",
        help="add a second output that shows where in the image the evidence for each class is "
        "(for models that end in global pooling and one Dense layer or 1x1 convolution)",
    )
    for name, what in (("mean", "subtracted from"), ("std", "that then divides")):
        parser.add_argument(
            f"--{name}",
            type=real_number,
            metavar="X",
            help=f"value {what} pixels from 0 to 255 in training; --mean 0 --std 1 for a model "
            "that takes raw pixels (default: the value recorded in the model)",
        )


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    micro = options.target == "microcontroller"
    if micro:
        options.quantization = options.quantization or "int8"
    needed = options.quantization in CALIBRATED and options.calibration is None
    if needed and not may_know_ranges(Path(options.model)):
        raise UsageError(
            f"--quantization {options.quantization} needs --calibration DIR, a folder of training "
            "images"
        )
    if micro and options.class_map:
        raise UsageError("--class-map needs --target file; the C++ sources return scores only")
    if (options.mean is None) != (options.std is None):
        raise UsageError("--mean and --std must be given together")
    if options.calibration is None and (options.skip_bad or options.bits is not None):
        raise UsageError("--skip-bad and --bits are about the images in --calibration DIR")
    normalization = None
    if options.mean is not None:
        normalization = Normalization(options.mean, options.std)
    check_model_path(options.model)
    labels = None if options.labels is None else read_labels(options.labels)
    if options.calibration is not None:
        check_bits(options.bits)
        check_calibration(options.calibration, options.quantization)
    if micro:
        require("--target microcontroller", "micro", "tflite_micro")
        check_free("--output", options.output)
    else:
        check_writable("--output", options.output)

    load_keras("ai_edge_litert", "flatbuffers")
    from keras_dlcourse import export
    from keras_dlcourse.cli.model_input import (
        load_calibration_images,
        load_model,
        says_normalization,
    )

    model = load_model(options.model)
    if normalization is None and not says_normalization(model):
        raise UsageError(
            f"{options.model} does not record how its pixels were normalized in training. Pass "
            "--mean and --std, e.g. --mean 0 --std 255 for images divided by 255, --mean 127.5 "
            "--std 127.5 for -1 to 1, --mean 0 --std 1 for raw pixels from 0 to 255"
        )
    images = None
    if options.calibration is not None:
        reading = image_options(options)
        images = load_calibration_images(model, options.calibration, normalization, **reading)
    settings = {
        "quantization": options.quantization,
        "calibration": images,
        "labels": labels,
        "preprocessing": normalization,
        "class_map": options.class_map,
    }
    if not micro:
        print(export.to_tflite(model, options.output, **settings))
        return
    if options.quantization == "int8":  # avoids a conversion at input and output
        settings |= {"input_dtype": "int8", "output_dtype": "int8"}
    with tempfile.TemporaryDirectory(prefix="keras_dlcourse-") as folder:
        # If the model takes gray images, the board's camera delivers them.
        file = export.to_tflite(model, Path(folder) / "model.tflite", rgb=False, **settings)
        print(export.micro(file, options.output))


def may_know_ranges(model: Path) -> bool:
    """Whether a model may contain its activation ranges, determined without loading it."""
    if model.is_dir():
        return True  # a SavedModel: only its graph can tell
    try:
        with zipfile.ZipFile(model) as archive:
            return b"keras_dlcourse>FakeQuantize" in archive.read("config.json")
    except (OSError, KeyError, zipfile.BadZipFile):
        return False


def check_calibration(folder: str, quantization: str | None) -> None:
    """Raise an error if a folder has too few files for the calibration of a quantization."""
    files = len(list_images(folder, "--calibration"))
    if quantization in CALIBRATED and files < MINIMUM:
        raise ValueError(
            f"--calibration must have at least {MINIMUM} images, for reliable ranges. Received: "
            f"{folder} with {files}. Pass a folder of the training images"
        )


def read_labels(path: str) -> list[str]:
    """Read a file with one class name per line.

    Args:
        path: A UTF-8 text file; empty lines at its end are ignored.

    Raises:
        ValueError: If the file is not UTF-8 text or is empty.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"--labels: {path} is not a text file in UTF-8") from None
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise ValueError(f"--labels: {path} is empty; it must have one class name per line")
    return [line.strip() for line in lines]
