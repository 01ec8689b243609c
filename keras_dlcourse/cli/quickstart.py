"""`keras-dlcourse quickstart`."""

from __future__ import annotations

import argparse
from typing import Any

from keras_dlcourse._files import check_free
from keras_dlcourse.cli.quiet import load_keras
from keras_dlcourse.cli.usage import add_command

EXAMPLES = """
keras-dlcourse quickstart
keras-dlcourse quickstart --output runs/first
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "quickstart",
        run,
        "train, export and verify a small network on images in this package, in a few minutes",
        EXAMPLES,
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="RUN",
        help="new folder for the run (default: the first unused one of runs/quickstart, "
        "runs/quickstart-2, ...)",
    )


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    if options.output is not None:
        check_free("--output", options.output)
    load_keras("ai_edge_litert", "flatbuffers", "matplotlib", "rich")
    from keras_dlcourse import training

    return int(not training.quickstart(options.output).passed)
