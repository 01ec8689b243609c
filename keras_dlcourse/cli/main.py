"""Parse the command line, run the command, and return an exit code, with one message on failure."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from keras_dlcourse._version import __version__
from keras_dlcourse.cli import (
    bundle,
    compare,
    data,
    explain,
    export,
    inspect,
    models,
    preflight,
    quickstart,
    train,
    verify,
)
from keras_dlcourse.cli.completion import SHELLS, PrintCompletion
from keras_dlcourse.cli.quiet import DEBUG, quiet_tensorflow
from keras_dlcourse.cli.usage import UsageError
from keras_dlcourse.edge.commands.classify import add_benchmark_parser, add_classify_parser
from keras_dlcourse.edge.commands.common import HelpFormatter, print_everywhere
from keras_dlcourse.edge.commands.gallery import add_enroll_parser, add_identify_parser
from keras_dlcourse.edge.commands.locate import add_locate_parser
from keras_dlcourse.edge.commands.segment import add_segment_parser

# In the order in which a new user needs them.
_ADD_PARSER = (
    quickstart.add_parser,
    data.add_parser,
    train.add_parser,
    compare.add_parser,
    explain.add_parser,
    export.add_parser,
    inspect.add_parser,
    preflight.add_parser,
    verify.add_parser,
    add_classify_parser,
    add_locate_parser,
    add_segment_parser,
    add_enroll_parser,
    add_identify_parser,
    add_benchmark_parser,
    bundle.add_parser,
    models.add_parser,
)

OK, FAILED, USAGE = 0, 1, 2


def build_parser() -> argparse.ArgumentParser:
    """Build the parser for the command line."""
    parser = argparse.ArgumentParser(
        prog="keras-dlcourse",
        description="From images to a model on a device, verified to give the same answers there.",
        epilog="Begin with: keras-dlcourse quickstart. Each command has examples: "
        "keras-dlcourse COMMAND --help. KERAS_DLCOURSE_DEBUG=1 shows tracebacks of errors.",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("-V", "--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument(
        "--print-completion",
        action=PrintCompletion,
        choices=SHELLS,
        help="print a script that completes commands, options and files in this shell",
    )
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    for add_parser in _ADD_PARSER:
        add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: The arguments after `keras-dlcourse`; those of the process if None.

    Returns:
        The exit code: 0 on success, 1 if the command failed, 2 for wrong usage. (argparse itself
        exits with 2 for unknown arguments.)

    Example:
        >>> main(["inspect", "nothing.tflite"])
        1
    """
    print_everywhere()
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return OK
    quiet_tensorflow()
    try:
        with _plain_warnings():
            return options.func(options) or OK
    except UsageError as error:
        return _fail(f"{error} (see: keras-dlcourse {options.command} --help)", USAGE)
    except KeyboardInterrupt:
        return _fail("interrupted", FAILED)
    except BrokenPipeError:  # the reader of our output is gone, e.g. `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    # Bad input raises these. Anything else is a bug of ours and keeps its traceback.
    except (ValueError, TypeError, ImportError, OSError, AssertionError) as error:
        if os.environ.get(DEBUG):
            raise
        return _fail(_sentence(error), FAILED)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show the messages of warnings only, without their location in our source."""
    usual = warnings.formatwarning
    if not os.environ.get(DEBUG):
        warnings.formatwarning = lambda message, *args, **kwargs: f"warning: {message}\n"
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _sentence(error: Exception) -> str:
    """Return the message of an error, without empty lines."""
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}"
    lines = [line.rstrip() for line in str(error).strip().splitlines()]
    return "\n".join(filter(None, lines)) or type(error).__name__


def _fail(message: str, code: int) -> int:
    """Print the message to standard error and return the exit code."""
    print(f"error: {message}", file=sys.stderr)
    return code
