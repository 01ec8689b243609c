"""`keras-dlcourse inspect`."""

from __future__ import annotations

import argparse
from typing import Any

from keras_dlcourse._extras import require
from keras_dlcourse.cli.usage import add_command

EXAMPLES = """
keras-dlcourse inspect model.int8.tflite
keras-dlcourse inspect model.int8.tflite --tensors
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "inspect",
        run,
        "list the operations, tensors, sizes and metadata of a .tflite file",
        EXAMPLES,
    )
    parser.add_argument("file", metavar="FILE", help=".tflite file")
    parser.add_argument("--tensors", action="store_true", help="also list every tensor")


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    require("This command", "edge", "rich")
    from keras_dlcourse.export.checking.inspection import inspect

    found = inspect(options.file)
    print(found)
    if options.tensors:
        print(f"\n{found.tensor_table()}")
