"""The commands `classify` and `benchmark`, shared by `python -m` and `keras-dlcourse`."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_dlcourse.edge.class_map import overlay
from keras_dlcourse.edge.classifier import Category, ImageClassifier
from keras_dlcourse.edge.images import InvalidImage
from keras_dlcourse.edge.latency import measure
from keras_dlcourse.edge.metadata import parse_labels
from keras_dlcourse.edge.model_file import ModelFile
from keras_dlcourse.edge.runtime import interpreter, runtime_name

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]
    Command = Callable[[argparse.Namespace], int]

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
    """Add the command `classify`; its `func` takes the arguments and returns the exit code.

    Args:
        subparsers: What `ArgumentParser.add_subparsers` gave.
    """
    parser = subparsers.add_parser(
        "classify",
        help="say what images show, with a .tflite classifier",
        description="Say what images show, with a .tflite classifier.",
        epilog=_CLASSIFY_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="a .tflite file")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="image files")
    parser.add_argument(
        "--max-results", type=_count, default=5, metavar="N", help="categories an image (5)"
    )
    parser.add_argument(
        "--score-threshold", type=float, metavar="S", help="leave out scores below S"
    )
    parser.add_argument(
        "--labels", metavar="FILE", help="names of the classes, one a line, for files without"
    )
    parser.add_argument(
        "--mean",
        type=_numbers,
        metavar="M",
        help="subtracted from pixels (0 to 255): one number, or one per channel as 124,117,104",
    )
    parser.add_argument("--std", type=_numbers, metavar="S", help="what they are divided by then")
    parser.add_argument(
        "--map",
        metavar="FILE",
        help="draw where the evidence for the likeliest class stands over the image, for files "
        "exported with a class map; a folder if there are several images",
    )
    parser.add_argument(
        "--crop", action="store_true", help="crop the centre of images instead of stretching them"
    )
    _add_common(parser)
    parser.set_defaults(func=classify)
    return parser


def add_benchmark_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Add the command `benchmark`; its `func` takes the arguments and returns the exit code.

    Args:
        subparsers: What `ArgumentParser.add_subparsers` gave.
    """
    parser = subparsers.add_parser(
        "benchmark",
        help="measure how long a .tflite file takes here",
        description="Measure how long one call of a .tflite file takes on this device.",
        epilog=_BENCHMARK_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="a .tflite file")
    parser.add_argument("--runs", type=_count, default=50, metavar="N", help="calls (50)")
    _add_common(parser)
    parser.set_defaults(func=benchmark)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=_count, metavar="N", help="threads to compute on (1)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def one_sentence(command: Command) -> Command:
    """Make a command answer what is the user's to mend in a sentence on stderr, exit code 1."""

    @functools.wraps(command)
    def run(arguments: argparse.Namespace) -> int:
        try:
            return command(arguments)
        except (ValueError, TypeError, OSError, ImportError) as error:
            _complain(error)
            return 1

    return run


@one_sentence
def classify(arguments: argparse.Namespace) -> int:
    """Print what each image shows; images that cannot be read are named, the others done."""
    classifier = ImageClassifier(
        arguments.model,
        labels=None if arguments.labels is None else _read_labels(arguments.labels),
        mean=arguments.mean,
        std=arguments.std,
        threads=arguments.threads,
        crop=arguments.crop,
    )
    pictures = _pictures(arguments.map, arguments.images)
    results, code = [], 0
    for image in arguments.images:
        try:
            categories = classifier.classify(
                image, arguments.max_results, arguments.score_threshold
            )
            if image in pictures:
                _draw_map(classifier, image, pictures[image])
        except (InvalidImage, OSError) as error:
            _complain(error)
            code = 1
            continue
        result: dict[str, Any] = {"image": image}
        result["categories"] = [category._asdict() for category in categories]
        if image in pictures:
            result["map"] = str(pictures[image])
        results.append(result)
        if not arguments.json:
            _print_categories(image, categories, pictures.get(image))
    if arguments.json:
        _print_json({"model": arguments.model, "runtime": runtime_name(), "results": results})
    return code


@one_sentence
def benchmark(arguments: argparse.Namespace) -> int:
    """Print the latency of one call with the inputs as they are after loading."""
    file = ModelFile.read(arguments.model)
    made = interpreter(file.content, arguments.threads)
    latency = measure(made.invoke, arguments.runs, runtime_name(), arguments.threads)
    if arguments.json:
        _print_json({"model": arguments.model, "bytes": len(file.content), **asdict(latency)})
    else:
        print(f"{arguments.model}: {latency}")
    return 0


def _read_labels(path: str) -> tuple[str, ...]:
    try:
        return parse_labels(Path(path).read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text with a label a line") from None


def _pictures(target: str | None, images: list[str]) -> dict[str, Path]:
    """Return where the map of each image is drawn: the file given, or files in the folder given.

    Raises:
        ValueError: If the file's format is not known, or two images would have one picture.
    """
    if target is None:
        return {}
    if len(images) == 1 and not Path(target).is_dir():
        from PIL import Image

        formats = Image.registered_extensions()
        if formats.get(Path(target).suffix.lower()) not in Image.SAVE:
            raise ValueError(f"--map: {target} must end in .png, .jpg or another image format")
        return {images[0]: Path(target)}
    pictures = {image: Path(target) / f"{Path(image).stem}.png" for image in images}
    if len(set(pictures.values())) < len(pictures):
        raise ValueError(f"--map: images of the same name would have one picture in {target}")
    return pictures


def _draw_map(classifier: ImageClassifier, image: str, target: Path) -> None:
    """Draw the map of the likeliest class over its image."""
    from keras_dlcourse._files import written_whole

    content = Path(image).read_bytes()
    picture = overlay(content, classifier.class_map(content, full_size=True))
    with written_whole(target) as temporary:
        picture.save(temporary)


def _print_categories(image: str, categories: list[Category], picture: Path | None) -> None:
    print(image)
    for category in categories:
        print(f"  {category.score:.4f}  {category.label}")
    if picture is not None:
        print(f"  map: {picture}")


def _print_json(value: dict[str, Any]) -> None:
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False))


def _complain(error: Exception) -> None:
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    print(f"error: {text}", file=sys.stderr)


def _count(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, got {text!r}")
    return number


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be a number, or one per channel with commas between, got {text!r}"
        ) from None
