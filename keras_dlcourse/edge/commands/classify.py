"""The `classify` and `benchmark` commands, shared by `python -m` and `keras-dlcourse`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_dlcourse.edge.commands.common import (
    add_command,
    add_common_options,
    add_images,
    add_model_options,
    add_picture,
    answer_each,
    category_lines,
    model_options,
    one_sentence,
    pictures_of,
    print_json,
    read_labels,
    real_number,
    whole_number,
)
from keras_dlcourse.edge.runtime.interpreter import interpreter, runtime_name
from keras_dlcourse.edge.runtime.latency import measure
from keras_dlcourse.edge.tflite.model_file import ModelFile
from keras_dlcourse.edge.vision.class_map import overlay
from keras_dlcourse.edge.vision.classifier import ImageClassifier
from keras_dlcourse.edge.vision.images import read_image

if TYPE_CHECKING:
    from PIL.Image import Image

    from keras_dlcourse.edge.commands.common import Subparsers

_CLASSIFY_EXAMPLES = """examples:
  %(prog)s model.int8.tflite photo.jpg
  %(prog)s model.int8.tflite photos/*.jpg --max-results 1 --json
  %(prog)s mapped.tflite photo.jpg --map overlay.png
  %(prog)s other.tflite photo.jpg --labels labels.txt --mean 127.5 --std 127.5
"""
_BENCHMARK_EXAMPLES = """examples:
  %(prog)s model.int8.tflite
  %(prog)s model.int8.tflite --threads 4 --runs 200 --json
"""


def add_classify_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Add the `classify` command; its `func` takes the parsed arguments and returns the exit code.

    Args:
        subparsers: Return value of `ArgumentParser.add_subparsers`.
    """
    does = "classify images with a .tflite classifier"
    parser = add_command(subparsers, "classify", classify, does, _CLASSIFY_EXAMPLES)
    add_images(parser)
    parser.add_argument(
        "--max-results",
        type=whole_number,
        metavar="N",
        help="maximum categories per image (default: 5, or all that reach the file's thresholds)",
    )
    parser.add_argument(
        "--score-threshold", type=real_number, metavar="S", help="omit scores below S"
    )
    parser.add_argument(
        "--labels", metavar="FILE", help="class names, one per line, for models without labels"
    )
    parser.add_argument(
        "--map",
        metavar="FILE",
        help="output image with the class map of the most likely class drawn over the input, for "
        "models exported with a class map; a folder if there are several images",
    )
    add_model_options(parser)
    add_common_options(parser)
    return parser


def add_benchmark_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Add the `benchmark` command; its `func` takes the parsed arguments, returns the exit code.

    Args:
        subparsers: Return value of `ArgumentParser.add_subparsers`.
    """
    does = "measure the latency of one call to a .tflite model on this device"
    parser = add_command(subparsers, "benchmark", benchmark, does, _BENCHMARK_EXAMPLES)
    parser.add_argument("model", metavar="MODEL", help="a .tflite file")
    parser.add_argument(
        "--runs", type=whole_number, default=50, metavar="N", help="calls (default: 50)"
    )
    add_common_options(parser)
    return parser


@one_sentence
def classify(arguments: argparse.Namespace) -> int:
    """Print the categories of each image; unreadable images are reported and skipped."""
    labels = None if arguments.labels is None else read_labels(arguments.labels)
    classifier = ImageClassifier(arguments.model, labels=labels, **model_options(arguments))
    pictures = pictures_of("--map", arguments.map, arguments.images)
    most = arguments.max_results
    if most is None and classifier.score_thresholds is None:
        most = 5

    def answer(image: str) -> tuple[dict[str, Any], list[str]]:
        categories = classifier.classify(image, most, arguments.score_threshold)
        result = {"image": image, "categories": [category._asdict() for category in categories]}
        told = result, [image, *category_lines(categories)]
        add_picture(
            told, "map", pictures.get(image), lambda: _draw_map(classifier, image, arguments.bits)
        )
        return told

    return answer_each(arguments, answer)


@one_sentence
def benchmark(arguments: argparse.Namespace) -> int:
    """Print the latency of one call on the inputs that the interpreter allocated."""
    file = ModelFile.read(arguments.model)
    made = interpreter(file.content, arguments.threads)
    latency = measure(made.invoke, arguments.runs, runtime_name(), arguments.threads)
    if arguments.json:
        print_json({"model": arguments.model, "bytes": len(file.content), **asdict(latency)})
    else:
        print(f"{arguments.model}: {latency}")
    return 0


def _draw_map(classifier: ImageClassifier, image: str, bits: int | None) -> Image:
    """Draw the class map of the most likely class over the image."""
    content = Path(image).read_bytes()
    pixels = read_image(content, bits=bits)
    return overlay(pixels, classifier.class_map(content, full_size=True))
