"""Options, output and error handling shared by the device commands."""

from __future__ import annotations

import argparse
import codecs
import functools
import io
import math
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_dlcourse.edge.description.labels import parse_labels
from keras_dlcourse.edge.runtime.interpreter import runtime_name
from keras_dlcourse.edge.vision.images import InvalidImage

if TYPE_CHECKING:
    from PIL.Image import Image

    from keras_dlcourse.edge.results import Category

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]
    Command = Callable[[argparse.Namespace], int | None]  # returns the exit code, None for 0


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Wraps descriptions, but not what has several lines, such as commands to copy."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return super()._fill_text(text, width, indent)
        return textwrap.fill(text, width, break_on_hyphens=False)  # keras-dlcourse is one word


def add_command(
    subparsers: Subparsers,
    name: str,
    function: Callable[[argparse.Namespace], int | None],
    does: str,
    examples: str,
    more: str = "",
) -> argparse.ArgumentParser:
    """Add a command, and return its parser.

    Args:
        subparsers: Return value of `ArgumentParser.add_subparsers`.
        name: Name of the command.
        function: Takes the parsed arguments and returns the exit code.
        does: What it does, as a sentence without capital letter and period.
        examples: Command lines for the end of `--help`.
        more: What `--help` says besides.
    """
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=does,
        description=f"{does[0].upper()}{does[1:]}.{more}",
        epilog=examples,
        formatter_class=HelpFormatter,
    )
    parser.set_defaults(func=function)
    return parser


def add_images(parser: argparse.ArgumentParser, model: str = "a .tflite file") -> None:
    """Add `MODEL` and `IMAGE ...`."""
    parser.add_argument("model", metavar="MODEL", help=model)
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="image files")


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add `--threads` and `--json`."""
    parser.add_argument(
        "--threads", type=whole_number, metavar="N", help="number of threads (default: 1)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add `--mean`, `--std`, `--crop` and `--bits`, which prepare pixels, and `--untrusted`."""
    parser.add_argument(
        "--mean",
        type=numbers,
        metavar="M",
        help="subtracted from pixels (0 to 255): one value, or one per channel as in 124,117,104",
    )
    parser.add_argument(
        "--std", type=numbers, metavar="S", help="divides the pixels after --mean is subtracted"
    )
    parser.add_argument(
        "--crop", action="store_true", help="center-crop images instead of stretching them"
    )
    add_bits_option(parser)
    parser.add_argument(
        "--untrusted",
        action="store_true",
        help="run the model in a separate process with limits on time and memory",
    )


def add_bits_option(parser: argparse._ActionsContainer) -> None:
    """Add `--bits`."""
    parser.add_argument(
        "--bits",
        type=whole_number,
        metavar="N",
        help="significant bits of 16-bit grayscale images, e.g. 12 (default: as stated in the "
        "image file)",
    )


def model_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the parsed options as keyword arguments of the device models."""
    names = ("mean", "std", "threads", "crop", "bits", "untrusted")
    return {name: getattr(arguments, name) for name in names}


def answer_each(
    arguments: argparse.Namespace, answer: Callable[[str], tuple[dict[str, Any], list[str]]]
) -> int:
    """Print the result for each image; unreadable images are reported and skipped.

    Args:
        arguments: Parsed arguments with `model`, `images` and `json`.
        answer: Function from an image path to a dictionary for JSON and lines of text.

    Returns:
        The exit code.
    """
    results, code = [], 0
    for image in arguments.images:
        try:
            result, lines = answer(image)
        except (InvalidImage, OSError) as error:
            complain(error)
            code = 1
            continue
        results.append(result)
        if not arguments.json:
            print(*lines, sep="\n")
    if arguments.json:
        print_json({"model": arguments.model, "runtime": runtime_name(), "results": results})
    return code


def category_lines(categories: list[Category]) -> list[str]:
    """Return one line per category, or a line that says there are none."""
    if not categories:
        return ["  none: no class reaches its threshold"]
    return [f"  {category.score:.4f}  {category.label}" for category in categories]


def add_picture(
    answer: tuple[dict[str, Any], list[str]],
    what: str,
    target: Path | None,
    draw: Callable[[], Image],
) -> None:
    """Save a picture atomically, and add its path to the answer about an image.

    Args:
        answer: A dictionary for JSON and lines of text.
        what: What the picture is: the key in the dictionary.
        target: Where to save it, one of `pictures_of`; None draws nothing.
        draw: Returns the picture.
    """
    from keras_dlcourse._files import write_atomically

    if target is None:
        return
    picture = draw()
    with write_atomically(target) as temporary:
        picture.save(temporary)
    result, lines = answer
    result[what] = str(target)
    lines.append(f"  {what}: {target}")


def print_everywhere() -> None:
    """Make `print` accept any character in any locale: class names are UTF-8, file names bytes.

    In an ASCII locale, the output becomes UTF-8, and file names are written byte for byte, as in
    Python's UTF-8 mode. Other encodings escape characters that they cannot represent.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            if codecs.lookup(stream.encoding).name == "ascii":
                stream.reconfigure(encoding="utf-8", errors="surrogateescape")
            else:
                stream.reconfigure(errors="backslashreplace")


def one_sentence(command: Command) -> Command:
    """Make a command report user errors in one sentence on stderr and return exit code 1."""

    @functools.wraps(command)
    def run(arguments: argparse.Namespace) -> int | None:
        try:
            return command(arguments)
        except (ValueError, TypeError, OSError, ImportError) as error:
            complain(error)
            return 1

    return run


def print_json(value: dict[str, Any]) -> None:
    """Print a dictionary as JSON."""
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False))


def complain(error: Exception) -> None:
    """Print an error to standard error in one sentence."""
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    print(f"error: {text}", file=sys.stderr)


def read_labels(path: str) -> tuple[str, ...]:
    """Return the labels in a text file, one per line."""
    try:
        return parse_labels(Path(path).read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text with one label per line") from None


def pictures_of(option: str, target: str | None, images: list[str]) -> dict[str, Path]:
    """Return the output path of each image: the given file, or a PNG in the given folder.

    Args:
        option: Name of the option, used in error messages.
        target: Value of the option; None draws nothing.
        images: Paths of the images.

    Raises:
        ValueError: If the file format is unknown, or two images have the same output path.
    """
    if target is None:
        return {}
    if len(images) == 1 and not Path(target).is_dir():
        from PIL import Image

        formats = Image.registered_extensions()
        if formats.get(Path(target).suffix.lower()) not in Image.SAVE:
            raise ValueError(
                f"{option} must be a file name that ends in .png, .jpg or another image format. "
                f"Received: {target}"
            )
        return {images[0]: Path(target)}
    pictures = {image: Path(target) / f"{Path(image).stem}.png" for image in images}
    if len(set(pictures.values())) < len(pictures):
        raise ValueError(
            f"{option}: several images have the same name, so their pictures would overwrite each "
            f"other in {target}. Rename the images or process them separately."
        )
    return pictures


def whole_number(text: str) -> int:
    """Parse a positive integer."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a positive integer. Received: {text!r}")
    return number


def real_number(text: str) -> float:
    """Parse a finite number."""
    try:
        parsed = float(text)
    except ValueError:
        parsed = math.nan
    if not math.isfinite(parsed):
        raise argparse.ArgumentTypeError(f"must be a number. Received: {text!r}")
    return parsed


def numbers(text: str) -> tuple[float, ...]:
    """Parse comma-separated numbers."""
    try:
        return tuple(real_number(part) for part in text.split(","))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"must be a number, or comma-separated numbers, one per channel. Received: {text!r}"
        ) from None
