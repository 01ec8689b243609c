"""What the commands share: how they are declared, and how wrong usage is said."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable
from typing import Any

from keras_dlcourse.edge.commands.common import add_bits_option


class UsageError(Exception):
    """The words of the command line do not go together; ends in exit code 2."""


def add_command(
    commands: Any,
    name: str,
    function: Callable[[argparse.Namespace], int | None],
    help: str,
    examples: str,
) -> argparse.ArgumentParser:
    """Declare a command.

    Args:
        commands: What `ArgumentParser.add_subparsers` returned.
        name: Its name.
        function: Called with the parsed words; returns the exit code, None for 0.
        help: What it does, in a sentence without capital and full stop.
        examples: Lines to copy, shown below `--help`.

    Returns:
        The parser, to add arguments to.
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
    """Add how image files are read: `--skip-bad` and `--bits`."""
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave out files that cannot be read as images"
    )
    add_bits_option(parser)


def image_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return what these options say, as what reads images takes it."""
    return {"skip_bad": options.skip_bad, "bits": options.bits}
