"""Shared by the commands: how to declare them, and the error for wrong usage."""

from __future__ import annotations

import argparse
import math
import re
import textwrap
from collections.abc import Callable
from typing import Any

from keras_dlcourse.edge.commands import common

_UNITS = {"s": 1, "m": 60, "h": 3600}


class UsageError(Exception):
    """Raised if command-line arguments do not fit together; ends in exit code 2."""


def add_command(
    commands: Any,
    name: str,
    function: Callable[[argparse.Namespace], int | None],
    help: str,
    examples: str,
) -> argparse.ArgumentParser:
    """Declare a command.

    Args:
        commands: The result of `ArgumentParser.add_subparsers`.
        name: Name of the command.
        function: Called with the parsed arguments; returns the exit code, None for 0.
        help: What the command does, as a sentence without capital letter and period.
        examples: Command lines to copy, shown at the end of `--help`.

    Returns:
        The parser of the command, to add arguments to.
    """
    lines = textwrap.indent(examples.strip(), "  ")
    return common.add_command(commands, name, function, help, f"examples:\n{lines}")


def add_image_options(parser: argparse._ActionsContainer) -> None:
    """Add the options for reading image files: `--skip-bad` and `--bits`."""
    parser.add_argument(
        "--skip-bad", action="store_true", help="skip files that cannot be read as images"
    )
    common.add_bits_option(parser)


def image_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return these options as keyword arguments for the functions that read images."""
    return {"skip_bad": options.skip_bad, "bits": options.bits}


def add_split_options(parser: argparse._ActionsContainer) -> None:
    """Add the options for splitting images: `--split` and `--group-by`."""
    parser.add_argument(
        "--split",
        nargs=3,
        type=float,
        metavar=("TRAIN", "VAL", "TEST"),
        help="fractions, or percentages, of the images for training, validation and testing; not "
        "used for parts that have their own folder (default: 0.8 0.1 0.1)",
    )
    parser.add_argument(
        "--group-by",
        metavar="PATTERN",
        help="keep images together for which the group of this regular expression is the same text "
        r"in their paths, e.g. 'patient(\d+)'; or the name of a column of a table",
    )


def split_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return those that were given, as keyword arguments for the functions that read data sets."""
    found: dict[str, Any] = {}
    if options.group_by is not None:
        found["group_by"] = options.group_by
    if options.split is None:
        return found
    total = sum(options.split)
    if min(options.split) <= 0 or not any(math.isclose(total, whole) for whole in (1, 100)):
        raise UsageError(
            "--split must be three numbers above 0 whose sum is 1 or 100. Received: "
            f"{' '.join(f'{part:g}' for part in options.split)}"
        )
    _, validation, test = (part / total for part in options.split)
    return {**found, "validation": validation, "test": test}


def add_cache_option(parser: argparse._ActionsContainer) -> None:
    """Add the option for where decoded images are kept: `--cache`."""
    parser.add_argument(
        "--cache",
        metavar="DIR",
        help="folder in which to keep the decoded images; none to decode them again in each epoch "
        "(default: auto, which is in memory up to 1 GiB, and above in ~/.keras/keras_dlcourse if "
        "there is room)",
    )


def cache_option(options: argparse.Namespace) -> dict[str, Any]:
    """Return it, if it was given, as a keyword argument for the functions that read data sets."""
    if options.cache in (None, "auto"):
        return {}
    return {"cache": False if options.cache == "none" else options.cache}


def parse_time(text: str) -> float:
    """Return the seconds of a time such as `90s`, `10m` or `1.5h`.

    Raises:
        ValueError: If it is not such a time, or is 0.

    Example:
        >>> parse_time("10m")
        600.0
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    seconds = 0.0 if found is None else float(found[1]) * _UNITS[found[2]]
    if not seconds > 0:
        raise ValueError(
            f"--time must be a number and a unit, such as 90s, 10m or 1.5h. Received: {text!r}"
        )
    return seconds
