"""`keras-dlcourse preflight`."""

from __future__ import annotations

import argparse
from typing import Any

from keras_dlcourse._extras import require
from keras_dlcourse.cli.usage import UsageError, add_command

EXAMPLES = """
keras-dlcourse preflight model.int8.tflite
keras-dlcourse preflight model.int8.tflite --targets tflite-micro tflite-runtime
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "preflight",
        run,
        "check which device runtimes can run a .tflite file, and what prevents the others",
        EXAMPLES,
    )
    parser.add_argument("file", metavar="FILE", help=".tflite file from any source")
    parser.add_argument(
        "--targets",
        nargs="+",
        metavar="T",
        help="check these runtimes only; the exit code is 1 if one of them cannot run the file",
    )


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    require("This command", "edge", "rich")
    from keras_dlcourse.export.checking.preflight import preflight
    from keras_dlcourse.export.checking.targets import TARGETS

    for name in options.targets or ():
        if name not in TARGETS:
            raise UsageError(f"--targets must be some of {', '.join(TARGETS)}. Received: {name!r}")
    found = preflight(options.file, options.targets)
    print(found)
    stopped = any(verdict.runs == "no" for verdict in found.verdicts.values())
    return 1 if options.targets and stopped else 0
