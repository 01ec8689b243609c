"""`keras-dlcourse compare`."""

from __future__ import annotations

import argparse
from typing import Any

from keras_dlcourse.cli.usage import add_command

EXAMPLES = """
keras-dlcourse compare runs/photos runs/photos-2
keras-dlcourse compare runs/* -o comparison.html
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "compare",
        run,
        "show the results, curves and settings of several runs side by side, on one page",
        EXAMPLES,
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run")
    parser.add_argument(
        "-o",
        "--output",
        default="compare.html",
        metavar="FILE",
        help="the page to write, replaced if it exists (default: compare.html)",
    )


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    from keras_dlcourse.report import compare_runs

    comparison = compare_runs(options.runs, options.output)
    print(comparison)
    print(f"\nCurves and settings: {comparison.path}")
