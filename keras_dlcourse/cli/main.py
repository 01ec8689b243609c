"""Parse the command line, call the command, and end in an exit code and at most one sentence."""

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
    explain,
    export,
    inspect,
    models,
    preflight,
    quickstart,
    train,
    verify,
)
from keras_dlcourse.cli.quiet import DEBUG, quiet_tensorflow
from keras_dlcourse.cli.usage import UsageError
from keras_dlcourse.edge.commands.classify import add_benchmark_parser, add_classify_parser
from keras_dlcourse.edge.commands.common import print_everywhere
from keras_dlcourse.edge.commands.gallery import add_enroll_parser, add_identify_parser
from keras_dlcourse.edge.commands.locate import add_locate_parser

# In the order in which a newcomer needs them.
_ADD_PARSER = (
    quickstart.add_parser,
    train.add_parser,
    explain.add_parser,
    export.add_parser,
    inspect.add_parser,
    preflight.add_parser,
    verify.add_parser,
    add_classify_parser,
    add_locate_parser,
    add_enroll_parser,
    add_identify_parser,
    add_benchmark_parser,
    bundle.add_parser,
    models.add_parser,
)

OK, FAILED, USAGE = 0, 1, 2


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the whole command."""
    parser = argparse.ArgumentParser(
        prog="keras-dlcourse",
        description="From images to a model on a device, with proof that both answer the same.",
        epilog="Begin with: keras-dlcourse quickstart. Each command has examples: "
        "keras-dlcourse COMMAND --help. KERAS_DLCOURSE_DEBUG=1 shows where an error came from.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True
    )
    for add_parser in _ADD_PARSER:
        add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: The words after `keras-dlcourse`; those of the process if None.

    Returns:
        The exit code: 0 if all went well, 1 if the command failed, 2 if it was called wrongly.
        (argparse itself ends the process with 2 for words it does not know.)

    Example:
        >>> main(["inspect", "nothing.tflite"])
        1
    """
    print_everywhere()
    parser = build_parser()
    options = parser.parse_args(arguments)
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
    # These are what bad input ends in. Anything else is a fault of ours and keeps its traceback.
    except (ValueError, TypeError, ImportError, OSError, AssertionError) as error:
        if os.environ.get(DEBUG):
            raise
        return _fail(_sentence(error), FAILED)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show warnings as what they say, without the place in our source that they come from."""
    usual = warnings.formatwarning
    if not os.environ.get(DEBUG):
        warnings.formatwarning = lambda message, *args, **kwargs: f"warning: {message}\n"
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _sentence(error: Exception) -> str:
    """Say what went wrong, in a line, or in those that the message has."""
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}"
    lines = [line.rstrip() for line in str(error).strip().splitlines()]
    return "\n".join(filter(None, lines)) or type(error).__name__


def _fail(message: str, code: int) -> int:
    """Write the reason to standard error and return the exit code."""
    print(f"error: {message}", file=sys.stderr)
    return code
