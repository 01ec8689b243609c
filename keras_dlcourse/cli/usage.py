"""Shared by the commands: how to declare them, and the error for wrong usage."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable
from typing import Any

from keras_dlcourse.edge.commands.common import add_bits_option


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
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=f"{help[0].upper()}{help[1:]}.",
        epilog=f"examples:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(func=function)
    return parser


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for reading image files: `--skip-bad` and `--bits`."""
    parser.add_argument(
        "--skip-bad", action="store_true", help="skip files that cannot be read as images"
    )
    add_bits_option(parser)


def image_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return these options as keyword arguments for the functions that read images."""
    return {"skip_bad": options.skip_bad, "bits": options.bits}
