"""`keras-dlcourse export`."""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from keras_dlcourse.cli.quiet import load_keras
from keras_dlcourse.cli.usage import UsageError, add_command, add_image_options, image_options

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
        "write a Keras model as a .tflite file that describes itself",
        EXAMPLES,
    )
    parser.add_argument(
        "model", metavar="MODEL", help=".keras file, or folder of a SavedModel, e.g. of Keras 2"
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FILE",
        help=".tflite file to write; a new folder for microcontrollers",
    )
    parser.add_argument(
        "--quantization",
        choices=QUANTIZATIONS,
        metavar="K",
        help=f"how numbers are stored: {', '.join(QUANTIZATIONS)} (default: float32; int8 for "
        "microcontrollers and for models that were made quantization-aware)",
    )
    parser.add_argument(
        "--target",
        choices=["file", "microcontroller"],
        default="file",
        help="what to write: a .tflite file (default), or a folder of C++ sources for TensorFlow "
        "Lite Micro with the memory it needs",
    )
    parser.add_argument(
        "--calibration",
        metavar="DIR",
        help=f"folder of training images, at least 100; needed for {' and '.join(CALIBRATED)} "
        "unless the model was made quantization-aware",
    )
    add_image_options(parser)
    parser.add_argument(
        "--labels",
        metavar="FILE",
        help="text file with a class name a line (default: the names recorded in the model)",
    )
    parser.add_argument(
        "--class-map",
        action="store_true",
        help="add a second output: where in the image the evidence for each class stands (for "
        "models that end in global pooling and one Dense layer or 1x1 convolution)",
    )
    for name, what in (("mean", "subtracted from"), ("std", "then divides")):
        parser.add_argument(
            f"--{name}",
            type=float,
            metavar="X",
            help=f"what in training was {what} pixels from 0 to 255; --mean 0 --std 1 for a model "
            "that takes them as they are (default: what the model records)",
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
        raise UsageError("--class-map goes with --target file; the C++ sources give scores only")
    if (options.mean is None) != (options.std is None):
        raise UsageError("--mean and --std go together")
    labels = None if options.labels is None else read_labels(options.labels)

    load_keras()
    from keras_dlcourse import data, export
    from keras_dlcourse.cli.model_input import calibration_images, load_model, says_normalization

    model = load_model(options.model)
    normalization = None
    if options.mean is not None:
        normalization = data.Normalization(options.mean, options.std)
    elif not says_normalization(model):
        raise UsageError(
            f"{options.model} does not say what its pixels went through in training: pass --mean "
            "and --std, e.g. --mean 0 --std 255 for images divided by 255, --mean 127.5 "
            "--std 127.5 for -1 to 1, --mean 0 --std 1 for raw pixels from 0 to 255"
        )
    images = None
    if options.calibration is not None:
        reading = image_options(options)
        images = calibration_images(model, options.calibration, normalization, **reading)
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
    if options.quantization == "int8":  # no conversion at the ends
        settings |= {"input_dtype": "int8", "output_dtype": "int8"}
    with tempfile.TemporaryDirectory(prefix="keras_dlcourse-") as folder:
        # A board's camera gives grey where the model takes grey.
        file = export.to_tflite(model, Path(folder) / "model.tflite", rgb=False, **settings)
        print(export.micro(file, options.output))


def may_know_ranges(model: Path) -> bool:
    """Whether a model may carry the ranges of its activations, before it is loaded."""
    if model.is_dir():
        return True  # a SavedModel: its graph will tell
    try:
        with zipfile.ZipFile(model) as archive:
            return b"keras_dlcourse>FakeQuantize" in archive.read("config.json")
    except (OSError, KeyError, zipfile.BadZipFile):
        return False


def read_labels(path: str) -> list[str]:
    """Read a class name a line.

    Args:
        path: A text file in UTF-8; empty lines at its end do not count.

    Raises:
        ValueError: If it is no text or has no lines.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"--labels: {path} is not a text file in UTF-8") from None
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise ValueError(f"--labels: {path} is empty; it must hold a class name a line")
    return [line.strip() for line in lines]
