"""What the commands of the device share: their common options, output and errors."""

from __future__ import annotations

import argparse
import codecs
import functools
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_dlcourse.edge.runtime.interpreter import runtime_name
from keras_dlcourse.edge.vision.images import InvalidImage

if TYPE_CHECKING:
    from PIL.Image import Image

    from keras_dlcourse.edge.results import Category

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]
    Command = Callable[[argparse.Namespace], int]


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add `--threads` and `--json`."""
    parser.add_argument(
        "--threads", type=whole_number, metavar="N", help="threads to compute on (1)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add how pixels come to a model, `--mean`, `--std`, `--crop`, `--bits`, and `--untrusted`."""
    parser.add_argument(
        "--mean",
        type=numbers,
        metavar="M",
        help="subtracted from pixels (0 to 255): one number, or one per channel as 124,117,104",
    )
    parser.add_argument("--std", type=numbers, metavar="S", help="what they are divided by then")
    parser.add_argument(
        "--crop", action="store_true", help="crop the centre of images instead of stretching them"
    )
    add_bits_option(parser)
    parser.add_argument(
        "--untrusted",
        action="store_true",
        help="run the file in a process of its own, limited in time and memory",
    )


def add_bits_option(parser: argparse.ArgumentParser) -> None:
    """Add `--bits`."""
    parser.add_argument(
        "--bits",
        type=whole_number,
        metavar="N",
        help="how many bits the values of grey images have that are stored in 16, e.g. 12 "
        "(what the file says)",
    )


def model_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what these options say, as the device models take it."""
    names = ("mean", "std", "threads", "crop", "bits", "untrusted")
    return {name: getattr(arguments, name) for name in names}


def answer_each(
    arguments: argparse.Namespace, answer: Callable[[str], tuple[dict[str, Any], list[str]]]
) -> int:
    """Print what is found in each image; those that cannot be read are named, the others done.

    Args:
        arguments: With `model`, `images` and `json`.
        answer: What makes of an image's path a table for JSON and the lines for people.

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
    """Return a line for each category, or one that says that there is none."""
    if not categories:
        return ["  nothing: no class reaches its threshold"]
    return [f"  {category.score:.4f}  {category.label}" for category in categories]


def save_picture(picture: Image, target: Path) -> None:
    """Write a picture whole, or not at all."""
    from keras_dlcourse._files import written_whole

    with written_whole(target) as temporary:
        picture.save(temporary)


def print_everywhere() -> None:
    """Let no character stop a print, whatever the locale: class names are UTF-8, file names bytes.

    In an ASCII locale, the output becomes UTF-8, and names of files are written as they are on the
    disk, as in Python's UTF-8 mode. What another output cannot show is escaped.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            if codecs.lookup(stream.encoding).name == "ascii":
                stream.reconfigure(encoding="utf-8", errors="surrogateescape")
            else:
                stream.reconfigure(errors="backslashreplace")


def one_sentence(command: Command) -> Command:
    """Make a command answer what is the user's to mend in a sentence on stderr, exit code 1."""

    @functools.wraps(command)
    def run(arguments: argparse.Namespace) -> int:
        try:
            return command(arguments)
        except (ValueError, TypeError, OSError, ImportError) as error:
            complain(error)
            return 1

    return run


def print_json(value: dict[str, Any]) -> None:
    """Print a table as JSON."""
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False))


def complain(error: Exception) -> None:
    """Print an error to standard error, in a sentence."""
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    print(f"error: {text}", file=sys.stderr)


def pictures_of(option: str, target: str | None, images: list[str]) -> dict[str, Path]:
    """Return where what is drawn for each image goes: the file given, or the folder given.

    Args:
        option: What the option is called, for messages.
        target: Its value; None draws nothing.
        images: The images' paths.

    Raises:
        ValueError: If the file's format is not known, or two images would have one picture.
    """
    if target is None:
        return {}
    if len(images) == 1 and not Path(target).is_dir():
        from PIL import Image

        formats = Image.registered_extensions()
        if formats.get(Path(target).suffix.lower()) not in Image.SAVE:
            raise ValueError(f"{option}: {target} must end in .png, .jpg or another image format")
        return {images[0]: Path(target)}
    pictures = {image: Path(target) / f"{Path(image).stem}.png" for image in images}
    if len(set(pictures.values())) < len(pictures):
        raise ValueError(f"{option}: images of the same name would have one picture in {target}")
    return pictures


def whole_number(text: str) -> int:
    """Read a whole number above 0."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, got {text!r}")
    return number


def numbers(text: str) -> tuple[float, ...]:
    """Read numbers with commas between."""
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be a number, or one per channel with commas between, got {text!r}"
        ) from None
